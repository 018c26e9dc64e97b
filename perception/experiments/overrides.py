"""The words `key=value` of the command line: parsed by Hydra's grammar, applied to a configuration.

A table of free names (skips, losses, task weights) is replaced by a table; the settings of one
thing (an encoder, a data set, a view) are merged with it, key by key. No key needs a `+`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from perception.errors import UsageError

# Tables whose keys we know: a table given for one of them changes some of its keys. So does one
# with a `_target_`.
_RECORD = re.compile(
    r"head|head\.[^.]+|data|data\.sets\.[^.]+|trainer|encoder|balance|optimizer|schedule|logger"
    r"|(data\.sets\.[^.]+\.)?augment(\.(view|steps(\.[^.]+)?))?"
)
_HOME = re.compile(r"(?<=[=,\[\s:])~(?=/|$|[,\]}\s])")


def parse_overrides(words: Sequence[str]) -> list[Any]:
    """Hydra's parsed overrides. `~` is the home folder; a value may hold any character.

    Raises:
        UsageError: a word that is no key=value.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    return [_parse(parser, word) for word in words]


def one_initialize(words: Sequence[str]) -> list[str]:
    """`initialize=RUN initialize.only=[encoder]` as the one table that they describe."""
    below = [w for w in words if w.lstrip("+").startswith("initialize.")]
    if not below:
        return list(words)
    named = [w for w in words if w.lstrip("+").startswith("initialize=")]
    table = [f"from: {quoted(w.partition('=')[2])}" for w in named[-1:]]
    for word in below:
        key, _, value = word.lstrip("+").partition("=")
        table.append(f"{key.removeprefix('initialize.')}: {value}")
    others = [w for w in words if w not in below and w not in named]
    return [*others, f"initialize={{{', '.join(table)}}}"]


def sweep_jobs(words: Sequence[str]) -> list[list[str]]:
    """The words of every job of a sweep: all combinations of the values separated by commas."""
    choices = []
    for parsed in parse_overrides(words):
        if not parsed.is_sweep_override():
            choices.append([parsed.input_line])
            continue
        if not parsed.is_discrete_sweep():
            raise UsageError(
                parsed.input_line, "an interval", "values to try, e.g. 1e-4,1e-3 or range(1,4)"
            )
        key = parsed.get_key_element()
        choices.append([f"{key}={value}" for value in parsed.sweep_string_iterator()])
    return [list(job) for job in itertools.product(*choices)]


def is_record(key: str, node: object) -> bool:
    """Whether a table at `key` is the settings of one thing, not a table of free names."""
    return _RECORD.fullmatch(key) is not None or (isinstance(node, Mapping) and "_target_" in node)


def apply_override(config: DictConfig, override: Any) -> None:
    """Changes `config` (not in struct mode) by one parsed override.

    Raises:
        UsageError: several values without a sweep, a single value for what is a table, or a key
            below a single value.
    """
    key, word = override.key_or_group, override.input_line
    if override.is_sweep_override():
        raise UsageError(
            word, "several values", "one", "Add --multirun to try each, or quote it: 'key=\"a,b\"'."
        )
    parent, _, leaf = key.rpartition(".")
    if override.is_delete():
        node = OmegaConf.select(config, parent) if parent else config
        if not isinstance(node, DictConfig) or leaf not in node:
            raise UsageError(word, "nothing to remove", "a key of the configuration")
        del node[leaf]
        return
    _make_way(config, key, word)
    value = override.value()
    node = _node(config, key)
    record = is_record(key, node)
    if (
        isinstance(node, DictConfig)
        and not isinstance(value, dict)
        and value is not None
        and (record or key == "data.sets")
    ):
        raise UsageError(word, "one value", _instead(config, key, value))
    merge = isinstance(value, dict) and record
    OmegaConf.update(config, key, value, merge=merge, force_add=True)


def expand_home(config: DictConfig | ListConfig) -> None:
    """Replaces `~/` at the start of every text by the home folder."""
    keys: Iterator[Any] = (
        iter(range(len(config))) if isinstance(config, ListConfig) else iter(list(config))
    )
    for key in keys:
        node: Any = config._get_node(key)
        if isinstance(node, (DictConfig, ListConfig)):
            if not (node._is_none() or node._is_missing() or node._is_interpolation()):
                expand_home(node)
        else:
            value = node._value()
            if isinstance(value, str) and (value == "~" or value.startswith("~/")):
                config[key] = str(Path(value).expanduser())


def quoted(text: str) -> str:
    """A text as the grammar's quoted value: backslashes count only before a quote."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


# ---------------------------------------------------------------------------- helpers


def _parse(parser: Any, word: str) -> Any:
    from hydra.errors import HydraException

    word = _HOME.sub(lambda _: str(Path.home()), word) if _HOME.search(word) else word
    try:
        return parser.parse_override(word)
    except HydraException:
        pass
    key, separator, value = word.partition("=")
    if separator and value[:1] not in ("[", "{", '"', "'"):
        try:  # a value with characters that the grammar keeps for itself
            return parser.parse_override(f"{key}={quoted(value)}")
        except HydraException:
            pass
    hint = "Lists are [a,b], tables {a: 1}; a value with both is quoted: 'key=\"[a]\"'."
    raise UsageError("overrides", repr(word), "key=value", hint if separator else "")


def _make_way(config: DictConfig, key: str, word: str) -> None:
    """Refuses a key below a single value; a split's name becomes a table for its patterns."""
    parts = key.split(".")
    for end in range(1, len(parts)):
        above = ".".join(parts[:end])
        node = OmegaConf.select(config, above, throw_on_missing=False)
        if node is None or isinstance(node, (DictConfig, ListConfig)):
            continue
        if re.fullmatch(r"data\.sets\.[^.]+\.(train|val)", above):
            OmegaConf.update(config, above, {"split": node}, merge=False)
            continue
        raise UsageError(word, f"a key below {above}", f"{above}=..., which is {node!r} now")


def _node(config: DictConfig, key: str) -> Any:
    node = OmegaConf.select(config, key, throw_on_missing=False)
    return node if not isinstance(node, DictConfig) or not node._is_none() else None


def _instead(config: DictConfig, key: str, value: object) -> str:
    """What to write instead of one value for a table."""
    if key == "head":
        return ", ".join(f"head/{task}={value}" for task in config.head)
    if key.startswith("head."):
        return f"{key.replace('.', '/')}={value}"
    if key == "data.sets":
        return "data=NAME, or data.sets={NAME: {root: ..., tasks: ..., batch_size: ...}}"
    return f"a table, e.g. {key}.KEY=VALUE"
