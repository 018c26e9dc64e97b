"""Which keys a configuration may hold: what its consumers know, and the nearest of them.

A mapping with a `_target_` may hold the arguments of that class; `trainer` and the top level what
the packaged files name; a data set its options. Whatever stands elsewhere would be ignored, so it
is an error.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from perception.errors import UsageError
from perception.experiments.groups import OWN, groups
from perception.files import packaged, read_yaml

# What other programs call it.
ELSEWHERE = {
    "max_epochs": "steps",
    "num_epochs": "steps",
    "epochs": "steps",
    "max_steps": "steps",
    "num_steps": "steps",
    "iterations": "steps",
    "learning_rate": "optimizer.lr",
    "num_workers": "trainer.workers",
}
INITIALIZE = ("from", "mode", "only", "except")
# Arguments that a group's consumer takes out before the `_target_` gets the rest.
TAKEN = {"optimizer": ("encoder_lr_factor", "offset_lr_factor")}


def check_known(config: Mapping[str, Any], *, but: Sequence[str] = ()) -> None:
    """Raises a `UsageError` that names every unknown key of a plain configuration.

    but: keys that are not looked at (those that a stored configuration had before).
    """
    found = [key for key in unknown_keys(config) if key not in but]
    if not found:
        return
    known = [*known_keys(config), *but]
    more = ", ".join(f"{key} ({nearest(key, known)})" for key in found[1:])
    do = f"Also unknown: {more}." if more else "perception train --cfg prints all keys."
    raise UsageError(found[0], "an unknown configuration key", nearest(found[0], known), do)


def unknown_keys(config: Mapping[str, Any]) -> list[str]:
    """Keys of a plain configuration that nothing reads, with dots."""
    return [key for key, known in _walk(config) if not known]


def known_keys(config: Mapping[str, Any]) -> list[str]:
    """Keys that this configuration could hold."""
    held = [key for key, known in _walk(config) if known]
    could = [*_top(), *(f"trainer.{key}" for key in _trainer())]
    for name in _sets(config):
        could += (f"data.sets.{name}.{option}" for option in _set_options())
        could += _part_options(name)
    for where, node in _targets(config):
        could += (f"{where}.{name}" for name in _arguments(where, node) or ())
    return list(dict.fromkeys([*held, *could]))


def nearest(key: str, known: Sequence[str]) -> str:
    """The known key that was probably meant, or those beside it."""
    parent, _, leaf = key.rpartition(".")
    if leaf in ELSEWHERE and ELSEWHERE[leaf] in known:
        return ELSEWHERE[leaf]
    beside = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == parent}
    same = [k for k in known if k.rpartition(".")[2] == leaf]
    near = difflib.get_close_matches(leaf, beside, n=1, cutoff=0.65)
    if near and (parent or not same):
        return beside[near[0]]
    if same:
        return difflib.get_close_matches(key, same, n=1, cutoff=0.0)[0]
    shown = [name for name in beside if not name.startswith("_")]
    return f"one of {', '.join(shown)}" if shown else "one that perception train --cfg prints"


# ---------------------------------------------------------------------------- what is known


def _walk(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Every key that is looked at, and whether it is known; below unknown ones nothing is."""
    for key, value in config.items():
        yield key, key in _top()
        if key not in _top() or not isinstance(value, Mapping):
            continue
        if key == "data":
            yield from _walk_data(value)
        elif key == "head":
            for task, head in value.items():
                yield f"head.{task}", True
                yield from _walk_target(f"head.{task}", head)
        elif key == "augment":
            yield from _walk_augment("augment", value)
        elif key == "initialize":
            yield from ((f"initialize.{name}", name in INITIALIZE) for name in value)
        elif key == "trainer":
            yield from ((f"trainer.{name}", name in _trainer()) for name in value)
        else:
            yield from _walk_target(key, value)


def _walk_data(data: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    from perception.data.build import PART_OPTIONS

    for key, sets in data.items():
        yield f"data.{key}", key == "sets"
        for name, options in sets.items() if key == "sets" and isinstance(sets, Mapping) else ():
            where = f"data.sets.{name}"
            yield where, True
            for option, value in options.items() if isinstance(options, Mapping) else ():
                yield f"{where}.{option}", option in _set_options()
                if not isinstance(value, Mapping):
                    continue
                if option in PART_OPTIONS:
                    yield from ((f"{where}.{option}.{k}", k in PART_OPTIONS[option]) for k in value)
                elif option == "augment":
                    yield from _walk_augment(f"{where}.augment", value)


def _walk_augment(where: str, options: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    from perception.data.augment import OPTIONS
    from perception.data.geometry import View

    views = {field.name for field in fields(View)}
    for key, value in options.items():
        yield f"{where}.{key}", key in OPTIONS or key.startswith("_")
        if key == "view" and isinstance(value, Mapping):
            yield from ((f"{where}.view.{name}", name in views) for name in value)
        elif key == "steps" and isinstance(value, Mapping):
            yield from ((f"{where}.steps.{name}", True) for name in value)


def _walk_target(where: str, node: Any) -> Iterator[tuple[str, bool]]:
    """A mapping with a `_target_`, and those in it."""
    if not isinstance(node, Mapping):
        return
    arguments = _arguments(where, node)
    for key, value in node.items():
        known = arguments is None or key in arguments or str(key).startswith("_")
        yield f"{where}.{key}", known
        if known and isinstance(value, Mapping) and "_target_" in value:
            yield from _walk_target(f"{where}.{key}", value)


def _targets(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in config.items():
        nodes = value.items() if key == "head" and isinstance(value, Mapping) else ()
        yield from ((f"head.{task}", node) for task, node in nodes if isinstance(node, Mapping))
        if isinstance(value, Mapping) and "_target_" in value:
            yield key, value


def _arguments(where: str, node: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the arguments of a `_target_`; None where any is taken or it is not importable."""
    if "_target_" not in node:
        return ()
    found = _signature(str(node["_target_"]))
    return None if found is None else (*found, *TAKEN.get(where, ()))


@cache
def _signature(target: str) -> tuple[str, ...] | None:
    from hydra.utils import get_object

    try:
        parameters = inspect.signature(get_object(target)).parameters
    except Exception:  # the target's own imports can raise anything; building it tells
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return tuple(parameters)


@cache
def _top() -> frozenset[str]:
    content = read_yaml(packaged(OWN, "config.yaml"))
    own = set(content) - {"defaults", "hydra"}
    return frozenset(own | {group.split("/")[0] for group in groups()} - {"experiment", "preset"})


@cache
def _trainer() -> tuple[str, ...]:
    files = sorted(packaged(OWN, "trainer").glob("*.yaml"))
    return tuple(dict.fromkeys(key for path in files for key in read_yaml(path)))


def _set_options() -> tuple[str, ...]:
    from perception.data.build import OPTIONS

    return tuple(OPTIONS)


def _part_options(name: str) -> list[str]:
    from perception.data.build import PART_OPTIONS

    return [f"data.sets.{name}.{part}.{o}" for part, known in PART_OPTIONS.items() for o in known]


def _sets(config: Mapping[str, Any]) -> tuple[str, ...]:
    sets = (config.get("data") or {}).get("sets") or {}
    return tuple(name for name, options in sets.items() if options is not None)
