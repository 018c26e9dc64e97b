"""Configurations: composed by Hydra from `conf/`, or stored in a run and changed by overrides.

Unknown keys and choices are answered with the nearest known one, wherever they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from perception.errors import PerceptionError, UsageError
from perception.experiments.groups import OWN, check_choice, groups, options_of, own_folder
from perception.experiments.known import check_known, unknown_keys
from perception.experiments.overrides import (
    apply_override,
    expand_home,
    is_record,
    one_initialize,
    parse_overrides,
    quoted,
)
from perception.experiments.trust import check_stored
from perception.files import packaged, read_yaml

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

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
    "trainer.frames": 1,
}
LARGEST_SEED = 10**10  # above it, the seed of a step does not fit into 64 bits
POSITIVE = (
    "optimizer.lr",
    "optimizer.encoder_lr_factor",
    "optimizer.offset_lr_factor",
    "trainer.clip_norm",
    "trainer.ema",
    "trainer.minutes",
)
OPTIONAL = (
    "frames",
    "offset_lr_factor",
    "minutes",
    "evaluate_every",
    "evaluate_frames",
    "threads",
    "clip_norm",
    "ema",
    "encoder_lr_factor",
)


def compose_config(overrides: Sequence[str], *, own: Path | None = None) -> DictConfig:
    """The configuration of `overrides` on top of conf/config.yaml.

    own: folder of the user's own choices; by default `conf/` in the working directory.

    Raises:
        UsageError: an override does not parse, its choice is not known, or there is a key, in an
            override or in a file, that nothing reads.
    """
    parsed = parse_overrides(one_initialize(overrides))
    config = _composed([o for o in parsed if _chooses(o)], own_folder(own))
    OmegaConf.set_struct(config, False)
    for override in parsed:
        if not _chooses(override):
            apply_override(config, override)
    check_known(_plain(config))
    expand_home(config)
    OmegaConf.set_struct(config, True)
    return config


def merge_overrides(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A stored configuration (of a run that is resumed or evaluated) with values replaced.

    Raises:
        UsageError: a key is not known, or the word is no key=value.
    """
    if not overrides:
        return config
    before = unknown_keys(_plain(config))
    OmegaConf.set_struct(config, False)
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if key in groups() and not isinstance(override.value(), dict):
            raise UsageError(
                override.input_line,
                f"a stored run's {key} cannot be replaced",
                do=f"Set single keys ({key.replace('/', '.')}.X=Y) or start a new run.",
            )
        apply_override(config, override)
    check_known(_plain(config), but=before)
    expand_home(config)
    OmegaConf.set_struct(config, True)
    return config


def read_config(folder: Path, *, trust: bool = False) -> DictConfig:
    """The configuration that the run in `folder` was trained with.

    trust: it may name anything to be called (see `check_stored`).

    Raises:
        PerceptionError: no run, or a file that is no configuration of one.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise PerceptionError(
            path,
            "no such file",
            "the folder of a run",
            "Give the folder that perception train printed, e.g. runs/demo/2026-01-31_12-00-00.",
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        found = "an empty file" if content is None else f"a {type(content).__name__}"
        raise PerceptionError(path, found, "the configuration of a run")
    for key in ("encoder", "head", "data"):
        if not isinstance(content.get(key), dict):
            raise PerceptionError(f"{path}: {key}", repr(content.get(key)), "a table of settings")
    if not trust:
        check_stored(content, path)
    try:
        config = OmegaConf.create(content)
    except OmegaConfBaseException as error:
        raise PerceptionError(path, " ".join(str(error).split()), "a configuration") from error
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
            raise PerceptionError(key, str(value), kind)
    ema = config.trainer.get("ema")
    if ema and not 0 < ema < 1:  # 0: none
        raise PerceptionError("trainer.ema", str(ema), "a share between 0 and 1, e.g. 0.99")
    if config.seed > LARGEST_SEED:
        raise PerceptionError("seed", str(config.seed), f"a whole number up to {LARGEST_SEED:,}")


# ---------------------------------------------------------------------------- composing


def sweep_folder(overrides: Sequence[str], number: int, *, own: Path | None = None) -> Path:
    """The folder of job `number` of a sweep (`hydra.sweep.dir` and `subdir`)."""
    words = [*overrides, f"hydra.job.num={number}"]
    parsed = [o for o in parse_overrides(words) if _chooses(o)]
    name = [w for w in overrides if w.startswith("name=")]
    with_name = [*parsed, *parse_overrides(name)]
    sweep = _composed(with_name, own_folder(own), keep_hydra=True).hydra.sweep
    return Path(sweep.dir).expanduser() / str(sweep.subdir)


def _chooses(override: Any) -> bool:
    """Whether an override chooses a file of a group, or is Hydra's own."""
    key = override.key_or_group
    table = not override.is_delete() and not override.is_sweep_override()
    if key in groups():
        return not (table and isinstance(override.value(), dict))
    return "/" in key or override.package is not None or key.startswith("hydra.")


def _composed(choices: Sequence[Any], own: Path | None, *, keep_hydra: bool = False) -> DictConfig:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    for choice in choices:
        if choice.is_sweep_override():
            raise UsageError(choice.input_line, "several choices", "one", "Or add --multirun.")
        if choice.key_or_group in ("hydra/launcher", "hydra/sweeper"):
            raise UsageError(
                choice.input_line,
                "another launcher",
                "none: a sweep runs its jobs one after the other",
            )
    words = [_added(choice, own) for choice in choices]
    if own is not None:
        words.append(f"hydra.searchpath=[{quoted(f'file://{own}')}]")
    with initialize_config_dir(str(packaged(OWN)), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.config_loader = _table_loader(hydra.config_loader.get_search_path())
        try:
            config = compose("config", overrides=words, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise _usage(error, own) from error
    for group, name in config.hydra.runtime.choices.items() if own else ():
        if own and isinstance(name, str) and not group.startswith("hydra/"):
            check_choice(own, group, name)
    if not keep_hydra:
        OmegaConf.set_struct(config, False)
        del config["hydra"]
    return config


def _added(choice: Any, own: Path | None) -> str:
    """The word of a choice; one that conf/config.yaml has no place for gets its `+`."""
    group, line = choice.key_or_group, str(choice.input_line)
    place = choice.package or group.replace("/", ".")  # in the configuration
    known = any(place == name.replace("/", ".") for name in _named())
    if known or choice.is_add() or choice.is_delete() or not options_of(group, own):
        return line
    return f"+{line}"


@cache
def _named() -> frozenset[str]:
    """The groups in the defaults of conf/config.yaml."""
    defaults = read_yaml(packaged(OWN, "config.yaml"))["defaults"]
    return frozenset(group for entry in defaults if isinstance(entry, dict) for group in entry)


def _table_loader(search_path: Any) -> ConfigLoaderImpl:
    """Hydra's loader, for which a file's table of free names replaces that of an earlier file."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    class Loader(ConfigLoaderImpl):
        def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> DictConfig:
            config = super()._compose_config_from_defaults_list(defaults, repo)
            tables: dict[str, Any] = {}
            for default in defaults:
                loaded: Any = self._load_single_config(default, repo).config
                _collect(loaded, "", tables)
            for key, table in tables.items():
                OmegaConf.update(config, key, table, merge=False)
            return config

    return Loader(search_path)


def _collect(node: DictConfig, prefix: str, tables: dict[str, Any]) -> None:
    """Notes the last table of free names at each key; another value there forgets it."""
    if node._is_none() or node._is_missing() or node._is_interpolation():
        return
    for name in node:
        key, value = f"{prefix}{name!s}", node._get_node(name)
        if key in ("hydra", "defaults"):
            continue
        if not isinstance(value, DictConfig) or value._is_none():
            tables.pop(key, None)
        elif is_record(key, value) or key == "data.sets":
            _collect(value, f"{key}.", tables)
        else:
            tables[key] = OmegaConf.to_container(value, resolve=False)


def _usage(error: Exception, own: Path | None) -> UsageError:
    """Hydra's message as one line; unknown choices get the nearest known ones."""
    text = " ".join(str(error).split())
    if "Could not find '" in text:
        group, _, name = text.split("Could not find '")[1].split("'")[0].rpartition("/")
        options = options_of(group, own)
        near = difflib.get_close_matches(name, options, n=1) or options[:1]
        if near:
            return UsageError(
                f"{group}={name}",
                "an unknown choice",
                f"e.g. {group}={near[0]}",
                f"Known: {', '.join(options)}.",
            )
    if "Could not override '" in text:
        key = text.split("Could not override '")[1].split("'")[0]
        near = difflib.get_close_matches(key, groups(), n=1, cutoff=0.4)
        return UsageError(key, "an unknown group", near[0] if near else ", ".join(groups()))
    return UsageError("configuration", text, "valid overrides", "See --help.")


def _plain(config: DictConfig) -> dict[str, Any]:
    value: Any = OmegaConf.to_container(config, resolve=False)
    plain: dict[str, Any] = value
    return plain
