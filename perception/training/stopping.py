"""What ends a run early: signals, and a validation score that no longer improves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has saved its state."""


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a wish that the loop asks for; a second one acts."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exhausted(best: Mapping[str, Any], step: int, every: int | None, patience: int | None) -> bool:
    """Whether the last `patience` evaluations brought nothing better than `best`.

    A function of the step, so that a resumed run needs no state for it. `every`: steps between
    evaluations.
    """
    if not (patience and every and best):
        return False
    return step // every - int(best["step"]) // every >= patience
