"""How many steps fit into `trainer.minutes` on this machine: a few timed steps at the start say it.

`steps` is the most that are trained; a machine that has time for all of them trains all of them.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from perception.training.state import Run
from perception.training.update import grouped_streams, one_step

TIMED = 5  # steps, after one that warms up; about two seconds for the demo on a fast machine


def fit_steps(run: Run) -> None:
    """Lowers `steps` of a new run to what fits into `trainer.minutes`, and says so.

    The number is settled before step 1, as the schedule needs it, and stored with the run.
    """
    minutes = run.config.trainer.get("minutes", default_value=None)
    if not minutes or run.config.resume:
        return
    wanted = int(run.config.steps)
    seconds = step_seconds(run)
    run.config.steps = steps_within(float(minutes), seconds, wanted)
    if run.fabric.is_global_zero:
        chosen = int(run.config.steps)
        what = f"all {wanted:,} steps" if chosen == wanted else f"{chosen:,} of {wanted:,} steps"
        print(
            f"pace: {seconds:.2f} s per step here, {wanted * seconds / 60:.1f} minutes for "
            f"{wanted:,}; {what} within trainer.minutes={minutes:g}"
        )


def steps_within(minutes: float, seconds: float, most: int) -> int:
    """Whole steps of `seconds` each that fit into `minutes`: at least 1, at most `most`."""
    return max(1, min(most, int(60 * minutes / seconds)))


def step_seconds(run: Run) -> float:
    """Seconds of one step, loading included: the median of a few that leave no trace in the run.

    All processes take the same steps and get the number of the first one.
    """
    streams = grouped_streams(run)
    times = []
    try:
        with _untouched(run):
            for _ in range(1 + TIMED):
                started = time.perf_counter()
                one_step(run, [next(s) for s in streams])
                times.append(time.perf_counter() - started)
    finally:
        for stream in streams:
            stream.close()
    return float(run.fabric.broadcast(statistics.median(times[1:])))


@contextmanager
def _untouched(run: Run) -> Iterator[None]:
    """Puts weights, moments, averages and the schedule back to what they were."""
    parts: list[Any] = [run.inner, run.optimizer, *([run.ema.model] if run.ema else [])]
    states = [copy.deepcopy(part.state_dict()) for part in parts]
    schedule = copy.deepcopy(run.schedule)
    yield
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)
    run.schedule, run.updating, run.buffers = schedule, False, []
