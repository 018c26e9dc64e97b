"""What verbs share on their command line: `--workers`, and the words of predict and evaluate."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perception.errors import UsageError
from perception.processes import cores

_SETTING = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@-]*=")


def add_workers(parser: argparse._ActionsContainer) -> None:
    """The option `--workers`, the same for every verb."""
    parser.add_argument(
        "--workers",
        type=whole_number("--workers", 1),
        metavar="N",
        default=cores(),
        help="worker processes (default: one per core); affects speed only",
    )


def whole_number(option: str, least: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `least`, or a `UsageError` that names the option."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise UsageError(option, text, f"{least} or more")
        return value

    return read


# ---------------------------------------------------------------------------- RUN IMAGES key=value


@dataclass(frozen=True)
class Words:
    """The words of a verb that works on a run: `RUN [PATH ...] [key=value ...]`."""

    paths: tuple[Path, ...]  # in order: the run, then what else is positional
    options: dict[str, str]  # `name=value` of the verb's own options
    overrides: tuple[str, ...]  # other settings, for the run's configuration
    old: str = ""  # the deprecated words that were used

    def say_old(self, usage: str) -> None:
        """One line on stderr where deprecated words were used."""
        if self.old:
            print(f"perception: {self.old} is deprecated; use: {usage}", file=sys.stderr)


def read_words(words: Sequence[str], *, verb: str, options: set[str], old: Sequence[str]) -> Words:
    """Sorts the words of a verb; a word that names a file or folder is always a path.

    Args:
        words: what was typed after the verb.
        verb: for messages.
        options: names of the verb's own options.
        old: deprecated options whose values are positional today, in their order.

    Raises:
        UsageError: a flag, or an old word beside its new form.
    """
    if flags := [w for w in words if w.startswith("-")]:
        raise UsageError(f"perception {verb}", flags[0], "key=value words; --help says which")
    named, others = split_options(words, {*options, *old})
    paths = [w for w in others if not _SETTING.match(w) or Path(w).expanduser().exists()]
    given = [name for name in old if name in named]
    positional = [Path(named.pop(name)).expanduser() for name in given]
    if given and len(paths) + len(given) > len(old):
        raise UsageError(f"perception {verb}", f"{paths[0]} beside {given[0]}=", "one of them")
    run_first = (
        [*positional, *map(_path, paths)]
        if given[:1] == old[:1]
        else [*map(_path, paths), *positional]
    )
    return Words(
        tuple(run_first),
        named,
        tuple(w for w in others if w not in paths),
        " ".join(f"{name}=" for name in given),
    )


def split_options(words: Sequence[str], names: set[str]) -> tuple[dict[str, str], list[str]]:
    """The words `name=value` whose name is an option of the verb, and all others."""
    options: dict[str, str] = {}
    others: list[str] = []
    for word in words:
        name, separator, value = word.partition("=")
        if separator and name in names:
            options[name] = value
        else:
            others.append(word)
    return options, others


def _path(word: str) -> Path:
    return Path(word).expanduser()
