"""What a stored configuration may start when its run is loaded.

`_target_` names what is called. A run of somebody else may name only classes of this program's own
networks, losses and data, of torch.optim and of albumentations; more by `trust=true`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perception.errors import PerceptionError

PACKAGES = ("perception.models", "perception.training", "perception.data", "torch.optim")
_UNUSED = "perception.data.augment.Augment"  # read by its settings, never called by its name


def check_stored(content: Any, path: Path) -> None:
    """Refuses a stored configuration that names anything else, or computes values.

    Raises:
        PerceptionError: names the key and what it would call.
    """
    for where, value in _texts(content):
        if where.endswith("_target_") and not _is_allowed(value):
            raise PerceptionError(
                f"{path}: {where}",
                repr(value)[:120],
                "a class of perception, torch.optim or albumentations",
                "Loading the run would call it. If you trust who made it: trust=true.",
            )
        if isinstance(value, str) and "${" in value:
            raise PerceptionError(
                f"{path}: {where}",
                repr(value)[:120],
                "a plain value",
                "If you trust who made it: trust=true.",
            )


def split_trust(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether `trust=true` is among the words, and all others."""
    said = [w.partition("=")[2].lower() for w in words if w.startswith("trust=")]
    return bool(said) and said[-1] == "true", [w for w in words if not w.startswith("trust=")]


# ---------------------------------------------------------------------------- helpers


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no table or list, and every `_target_`, with its key."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            name = f"{where}.{key}" if where else str(key)
            if key == "_target_" and not isinstance(part, str):
                yield name, part
            yield from _texts(part, name)
            yield from _texts(key, name) if isinstance(key, str) and "${" in key else ()
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            yield from _texts(part, f"{where}[{i}]")
    else:
        yield where, value


def _is_allowed(target: Any) -> bool:
    """A class that is defined in one of the packages, by a name that leads there directly."""
    if not isinstance(target, str) or not all(p.isidentifier() for p in target.split(".")):
        return False
    module, _, name = target.rpartition(".")
    if target == _UNUSED or (module == "albumentations" and name[:1].isupper()):
        return True
    if not _below_packages(module):
        return False
    try:
        if importlib.util.find_spec(module) is None:
            return False
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return isinstance(found, type) and _below_packages(found.__module__)


def _below_packages(module: str) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in PACKAGES)
