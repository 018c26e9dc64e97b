"""Loading a trained run: `perception.load("runs/demo/...")`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.build import build_model
from perception.experiments.config import merge_overrides, read_config
from perception.experiments.trust import split_trust
from perception.inference.exported import is_exported, load_exported
from perception.inference.model import Model
from perception.models.multitask import MultiTask, in_layout

CHECKPOINTS = ("best", "last")


def load(
    run: Path | str,
    *,
    which: str | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    trust: bool = False,
    **runtime: Any,
) -> Model:
    """The model of a run or of a file that `perception export` wrote, ready to predict.

    Args:
        run: the folder that `perception train` printed, a checkpoint file in it, or an
            exported `.onnx`, `.xml` or `.pt2` file.
        which: "best" or "last"; by default the best where there is one.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        overrides: Hydra-style `key=value` words that change the stored configuration.
        trust: the configuration may call anything, not only classes of this program.
        runtime: of an exported file: `threads`, and `providers` of ONNX Runtime in order.

    Raises:
        PerceptionError: no run there, or its checkpoint does not fit its configuration.
    """
    if is_exported(Path(run)):
        if which or overrides:
            found = which or overrides[0]
            raise PerceptionError(run, found, "no settings: an exported file has its own")
        return load_exported(Path(run), device=device, **runtime)
    if runtime:
        raise PerceptionError(next(iter(runtime)), str(run), "an exported file")
    chosen = choose_device(device)
    folder, path = find_checkpoint(Path(run), which)
    trusted, words = split_trust(overrides)
    config = merge_overrides(read_config(folder, trust=trust or trusted), words)
    model = build_model(config)
    load_network(model.network, path, chosen)
    return model


def load_network(network: MultiTask, path: Path, device: torch.device) -> dict[str, Any]:
    """Puts the evaluated weights of a checkpoint into `network`, ready to predict on `device`.

    Returns:
        The checkpoint's state: step, best, ...

    Raises:
        PerceptionError: no checkpoint of a trained run, or one of another network.
    """
    state = checkpoint.evaluated_state(path)
    checkpoint.load_weights(network, state["evaluated"], path, unused=network.left_out)
    in_layout(network.to(device), channels_last=True)
    network.eval()
    return state


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is the accelerator where there is one.

    Raises:
        PerceptionError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch raises both
        raise PerceptionError(
            "device",
            name,
            "auto, cpu, or an accelerator that torch finds here",
            "perception doctor says what this installation can do.",
        ) from error


def find_checkpoint(run: Path, which: str | None = None) -> tuple[Path, Path]:
    """(folder of the run, checkpoint file); `run` is a folder or a checkpoint in it."""
    if run.is_file():
        return run.parent, run
    names = [which] if which else CHECKPOINTS
    for name in names:
        if (run / f"{name}.pt").is_file():
            return run, run / f"{name}.pt"
    raise PerceptionError(
        run,
        "no checkpoint",
        " or ".join(f"{n}.pt" for n in names),
        "Give the folder of a run, e.g. runs/demo/2026-01-31_12-00-00.",
    )
