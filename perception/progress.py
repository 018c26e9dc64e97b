"""The progress bar of every verb: shown while a person looks on, else nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def shown() -> bool:
    """Whether a bar is shown: on a terminal that can move its cursor."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar on the terminal, gone when the block ends; it is moved by `show(done, total=None)`."""
    if not shown():
        yield lambda _done, _total=None: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    # a handle of its own: what is caught on standard error meanwhile is not the bar
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        console = Console(file=terminal, force_terminal=True)
        columns = Progress.get_default_columns()[:2]
        with Progress(
            *columns, MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
        ) as bar:
            task = bar.add_task(title, total=total)

            def show(done: int, total: int | None = None) -> None:
                bar.update(task, completed=done, total=total)

            yield show


def tracked(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """The items, with a bar that counts them."""
    with progress(title, total) as show:
        for done, item in enumerate(items, 1):
            yield item
            show(done)
