"""Configurations: composed by Hydra from `conf/`, or stored in a run and changed by overrides.

Unknown keys and choices are answered with the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from perception.errors import PerceptionError, UsageError
from perception.files import packaged, read_yaml

_MISSING = object()
WHOLE = {  # the least value of settings that are whole numbers
    "steps": 1,
    "seed": 0,
    "trainer.accumulate": 1,
    "trainer.log_every": 1,
    "trainer.checkpoint_every": 1,
    "trainer.workers": 0,
    "trainer.num_nodes": 1,
    "trainer.evaluate_every": 0,
    "trainer.evaluate_frames": 1,
    "trainer.threads": 0,
}
POSITIVE = ("optimizer.lr", "optimizer.encoder_lr_factor", "trainer.clip_norm", "trainer.ema")
OPTIONAL = ("evaluate_every", "evaluate_frames", "threads", "clip_norm", "ema", "encoder_lr_factor")


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration of `overrides` on top of conf/config.yaml.

    Raises:
        UsageError: an override does not parse, or its key or choice is not known.
    """
    parsed = parse_overrides(overrides)
    with initialize_config_dir(str(packaged("conf")), version_base="1.3"):
        try:
            return compose("config", overrides=list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            choices = [o.input_line for o in parsed if o.key_or_group in groups()]
            raise _usage(error, choices) from error


def merge_overrides(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A stored configuration (of a run that is resumed or evaluated) with values replaced.

    Raises:
        UsageError: a key is not in `config`, or the word is no key=value.
    """
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if OmegaConf.select(config, key, default=_MISSING) is _MISSING:
            raise _unknown_key(key, _keys(config))
        if isinstance(OmegaConf.select(config, key), DictConfig) and key in groups():
            raise UsageError(
                override.input_line,
                "another choice for a stored run",
                f"{key}.X=Y",
                "Change single keys; a new choice is a new run.",
            )
        OmegaConf.update(config, key, override.value())
    return config


def read_config(folder: Path) -> DictConfig:
    """The configuration that the run in `folder` was trained with."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise PerceptionError(
            path,
            "no such file",
            "the folder of a run",
            "Give the folder that perception train printed, e.g. runs/demo/2026-01-31_12-00-00.",
        )
    config = OmegaConf.create(read_yaml(path))
    OmegaConf.set_struct(config, True)
    return config


def check_numbers(config: DictConfig) -> None:
    """Settings of the loop that have to be numbers of a kind.

    Raises:
        PerceptionError: one that is not.
    """
    sets = (f"data.sets.{name}.batch_size" for name, s in config.data.sets.items() if s)
    whole = {**WHOLE, **dict.fromkeys(sets, 1)}
    for key in (*whole, *POSITIVE):
        value = OmegaConf.select(config, key)
        if value is None and key.split(".")[-1] in OPTIONAL:
            continue
        kinds = int if key in whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or value < whole.get(key, 0):
            kind = f"a whole number from {whole[key]}" if key in whole else "a number from 0"
            raise PerceptionError(key, str(value), kind, "Correct the setting.")


def parse_overrides(overrides: Sequence[str]) -> list[Any]:
    """Hydra's parsed overrides; a `UsageError` where one does not parse."""
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UsageError(
            "overrides",
            " ".join(str(error).split()),
            "words like key=value",
            "Quote values with spaces: 'key=\"a b\"'.",
        ) from error


def first_of_sweep(overrides: Sequence[str]) -> list[str]:
    """The overrides of the first job of a sweep."""
    return [
        f"{o.key_or_group}={next(iter(o.sweep_string_iterator()))!s}"
        if o.is_sweep_override()
        else w
        for o, w in zip(parse_overrides(overrides), overrides, strict=True)
    ]


def _unknown_key(key: str, known: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    leaf = [k for k in known if k.split(".")[-1] == key.split(".")[-1]]
    guess = (leaf or near or ["one of perception train --help"])[0]
    if _is_set_option(key):
        guess = f"+{key}=..., because the chosen data leaves it at its default"
    return UsageError(
        key,
        "an unknown configuration key",
        guess,
        "perception train --cfg prints all keys; +key=value adds one.",
    )


def _is_set_option(key: str) -> bool:
    """Whether it is data.sets.NAME.<an option of every data set>."""
    from perception.data.build import OPTIONS

    parts = key.split(".")
    return parts[:2] == ["data", "sets"] and len(parts) == 4 and parts[3] in OPTIONS


def _usage(error: Exception, choices: Sequence[str]) -> UsageError:
    """Hydra's message as one line; unknown keys and choices get the nearest known ones.

    `choices`: the overrides that choose from groups, which add keys of their own.
    """
    text = " ".join(str(error).split())
    if "Could not find '" in text:
        group, _, name = text.split("Could not find '")[1].split("'")[0].rpartition("/")
        options = options_of(group)
        near = difflib.get_close_matches(name, options, n=1) or options[:1]
        return UsageError(
            f"{group}={name}",
            "an unknown choice",
            f"e.g. {group}={near[0]}",
            f"Known: {', '.join(options)}.",
        )
    for marker in ("Could not override '", "Key '"):
        if marker in text:
            key = text.split(marker)[1].split("'")[0]
            return _unknown_key(key, [*_keys(_compose_safely(choices)), *groups()])
    return UsageError("configuration", text, "valid overrides", "See --help.")


def _compose_safely(choices: Sequence[str]) -> DictConfig:
    try:
        return compose("config", overrides=list(choices))
    except (HydraException, OmegaConfBaseException):
        return compose("config")


def _keys(config: DictConfig, prefix: str = "") -> list[str]:
    found = []
    for key in config:
        name = prefix + str(key)
        found.append(name)
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            found.extend(_keys(node, f"{name}."))
    return found


def groups() -> list[str]:
    """All configuration groups, e.g. "head/road"."""
    root = packaged("conf")
    folders = sorted(p for p in root.rglob("*") if p.is_dir() and any(p.glob("*.yaml")))
    return [folder.relative_to(root).as_posix() for folder in folders]


def options_of(group: str) -> list[str]:
    """The choices of a group."""
    return sorted(p.stem for p in packaged("conf", *group.split("/")).glob("*.yaml"))
