"""Starting from the weights of another run, whole or in part; nothing is left out silently.

initialize=RUN                                          every weight has to fit
initialize=RUN initialize.mode=fitting                  what fits by name and shape
initialize=RUN initialize.only=[encoder]                one part
initialize=RUN initialize.except=[heads.semantic.logits]  all but one part
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.load import find_checkpoint
from perception.models.multitask import MultiTask
from perception.models.weights import read_weights

MODES = ("all", "fitting")


@dataclass(frozen=True)
class Initialized:
    """What became of the weights: keys of the model and of the file."""

    source: Path
    loaded: tuple[str, ...]
    anew: tuple[str, ...]  # of the model: keep their random values
    left_over: tuple[str, ...]  # of the file: not used

    def table(self) -> str:
        """One line per part of the network, e.g. encoder.features, heads.semantic."""
        parts = {"loaded": self.loaded, "initialised anew": self.anew, "left over": self.left_over}
        lines = [f"weights of {self.source}:"]
        for title, keys in parts.items():
            counts: dict[str, int] = {}
            for key in keys:
                name = _part(key) if title == "loaded" else key.rpartition(".")[0] or key
                counts[name] = counts.get(name, 0) + 1
            listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
            lines.append(f"  {title:<17} {len(keys):>5}  {listed}".rstrip())
        return "\n".join(lines)


def initialize(model: MultiTask, settings: Any) -> Initialized | None:
    """Loads weights into `model` as `settings` (the key `initialize`) say, and prints what it did.

    Weights of a head that this run does without, because no data set has its task, are left over.

    Args:
        model: the network of a new run.
        settings: None, the path of a run, checkpoint (.pt) or weights file (.safetensors), or a
            table of `from` (that path), `mode` (all, fitting), `only` and `except` (lists of
            prefixes of keys).

    Raises:
        PerceptionError: no such file, or weights that do not fit what was asked for.
    """
    table = _settings(settings)
    if table["from"] is None:
        if table["only"] or table["except"] or table["mode"] != "all":
            raise PerceptionError(
                "initialize.from", "nothing", "a run or a file", "Set initialize=RUN."
            )
        return None
    source, weights = read_source(Path(str(table["from"])).expanduser())
    if table["mode"] == "all" and not table["only"] and not table["except"]:
        unused = [part for part in model.left_out if any(_below(key, [part]) for key in weights)]
        checkpoint.load_weights(model, weights, source, unused=unused)
        if unused:
            print(f"weights of {source}: left over, no data set has the task: {', '.join(unused)}")
        return None
    done = load_part(
        model,
        weights,
        source,
        only=table["only"],
        without=table["except"],
        fitting=table["mode"] == "fitting",
    )
    print(done.table())
    return done


def read_source(path: Path) -> tuple[Path, Mapping[str, Tensor]]:
    """(file, weights) of a run's folder (the best, else the last), a checkpoint or safetensors."""
    if path.is_dir():
        path = find_checkpoint(path)[1]
    if path.suffix == ".safetensors":
        return path, read_weights(path)
    return path, checkpoint.evaluated_weights(path)


def load_part(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: Path,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    fitting: bool = False,
) -> Initialized:
    """Loads the weights below `only` (all by default) and not below `without`.

    Without `fitting` each of them has to be in both, in the same shape.

    Raises:
        PerceptionError: a prefix that names nothing, or keys that do not fit; it names them.
    """
    ours = model.state_dict()
    for prefix in (*only, *without):
        if not any(_below(key, [prefix]) for key in (*ours, *weights)):
            known = ", ".join(dict.fromkeys(_part(key) for key in ours))
            raise PerceptionError(
                "initialize", f"no weights below {prefix}", f"a prefix such as {known}"
            )

    def chosen(key: str) -> bool:
        return (not only or _below(key, only)) and not _below(key, without)

    same = [k for k in ours if chosen(k) and k in weights and weights[k].shape == ours[k].shape]
    if not fitting:
        _refuse_misfits(source, {k: v for k, v in ours.items() if chosen(k)}, weights, chosen, same)
    if not same:
        raise PerceptionError(source, "no weight that fits", "some of this network's")
    with torch.no_grad():
        for key in same:
            ours[key].copy_(weights[key])
    return Initialized(
        source,
        tuple(same),
        tuple(k for k in ours if k not in set(same)),
        tuple(k for k in weights if k not in set(same)),
    )


# ---------------------------------------------------------------------------- helpers


def _settings(settings: Any) -> dict[str, Any]:
    value = OmegaConf.to_container(settings) if isinstance(settings, DictConfig) else settings
    table = value if isinstance(value, dict) else {"from": value}
    full = {"from": None, "mode": "all", "only": None, "except": None, **table}
    if unknown := set(full) - {"from", "mode", "only", "except"}:
        raise PerceptionError(
            f"initialize.{sorted(unknown)[0]}", "an unknown key", "from, mode, only or except"
        )
    if full["mode"] not in MODES:
        raise PerceptionError("initialize.mode", str(full["mode"]), " or ".join(MODES))
    for name in ("only", "except"):
        listed = full[name] or ()
        full[name] = [listed] if isinstance(listed, str) else [str(each) for each in listed]
    return full


def _refuse_misfits(
    source: Path,
    ours: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    chosen: Any,
    same: Sequence[str],
) -> None:
    fits = set(same)
    missing = [k for k in ours if k not in weights]
    surplus = [k for k in weights if chosen(k) and k not in ours]
    shape = [
        f"{k} {tuple(weights[k].shape)} instead of {tuple(ours[k].shape)}"
        for k in ours
        if k in weights and k not in fits
    ]
    kinds = {"missing": missing, "surplus": surplus, "shape": shape}
    found = "; ".join(
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in kinds.items()
        if keys
    )
    if found:
        parts = sorted({_part(k.split(" ")[0]) for keys in kinds.values() for k in keys})
        raise PerceptionError(
            source,
            found,
            "weights that fit what initialize.only and initialize.except choose",
            f"Leave parts out (e.g. initialize.except=[{parts[0]}]), or initialize.mode=fitting.",
        )


def _below(key: str, prefixes: Sequence[str]) -> bool:
    """Whether a key is one of the prefixes or below one: whole names, not letters."""
    return any(key == p or key.startswith(f"{p.rstrip('.')}.") for p in prefixes)


def _part(key: str) -> str:
    """encoder, or heads.NAME."""
    names = key.split(".")
    return ".".join(names[:2]) if names[0] == "heads" else names[0]
