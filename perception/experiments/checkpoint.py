"""Checkpoints: written whole or not at all, read without pickle code, checked key by key."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.files import atomic_open, read_bytes

VERSION = 1


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values atomically.

    Raises:
        PerceptionError: the disk is full or the folder cannot be written; the old file stays.
    """
    buffer = io.BytesIO()  # torch.save to a full disk fails inside C++; a plain write fails cleanly
    torch.save({"version": VERSION, **state}, buffer)
    with atomic_open(path) as file:
        file.write(buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, on the CPU (`weights_only=True`)."""
    raw = read_bytes(path)
    try:
        state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each raise their own
        raise PerceptionError(
            path,
            str(error).split("\n")[0][:120],
            "a checkpoint of this program",
            "Use an older checkpoint of the run, or start it again.",
        ) from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        found = state.get("version") if isinstance(state, dict) else type(state).__name__
        raise PerceptionError(
            f"{path}: version",
            str(found),
            str(VERSION),
            "Use a checkpoint written by this version of perception train.",
        )
    return state


def evaluated_weights(path: Path) -> dict[str, Tensor]:
    """The weights that were evaluated (the average where there was one) from a checkpoint.

    Raises:
        PerceptionError: no checkpoint, or one from before the first step.
    """
    result: dict[str, Tensor] = evaluated_state(path)["evaluated"]
    return result


def evaluated_state(path: Path) -> dict[str, Any]:
    """Like `load`, for what is going to predict: the state has trained weights."""
    state = load(path)
    if not isinstance(state.get("evaluated"), dict) or not isinstance(state.get("step"), int):
        raise PerceptionError(path, "no weights", "the checkpoint of a run")
    if state["step"] == 0:
        raise PerceptionError(
            path,
            "step 0",
            "a run that has been trained",
            f"Go on with it first: perception train resume={path.parent}",
        )
    return state


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], where: object, *, unused: Sequence[str] = ()
) -> None:
    """Loads `weights` into `model`, whole; those below the prefixes `unused` may be surplus.

    Raises:
        PerceptionError: keys are missing, surplus or of another shape; it names them.
    """
    ours = model.state_dict()
    below = tuple(f"{prefix}." for prefix in unused)
    weights = {k: v for k, v in weights.items() if k in ours or not k.startswith(below)}
    problems = {
        "missing": [k for k in ours if k not in weights],
        "surplus": [k for k in weights if k not in ours],
        "shape": [
            f"{k} {tuple(weights[k].shape)} instead of {tuple(ours[k].shape)}"
            for k in ours
            if k in weights and weights[k].shape != ours[k].shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(
            f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for kind, keys in problems.items()
            if keys
        )
        raise PerceptionError(
            where,
            found,
            f"the {len(ours)} weights of this architecture",
            "Use the configuration that this checkpoint was trained with.",
        )
    model.load_state_dict(weights)
