"""The progress bar of a training run: loss, images per second, time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from perception.experiments.evaluate import Evaluation


class Progress:
    """A bar on a terminal; one line per minute elsewhere (logs, CI)."""

    def __init__(self, step: int, steps: int, shown: bool, images_per_step: int = 1) -> None:
        self.steps, self.shown, self.images_per_step = steps, shown, images_per_step
        self.console = Console(stderr=True)
        self.bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (shown and self.console.is_terminal),
        )
        self.task = self.bar.add_task("train", total=steps, completed=step, values="")
        self.started, self.first = time.perf_counter(), step
        self.away = 0.0  # seconds spent evaluating
        self.done, self.printed = step, self.started

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, step: int, report: Mapping[str, float]) -> None:
        """Shows the state after `step` steps."""
        self.done = step
        values = f"loss {report['loss']:.3f}  {self.rate()['images_per_second']:.1f} images/s"
        self.bar.update(self.task, completed=step, values=values)
        now = time.perf_counter()
        if self.shown and not self.console.is_terminal and (now - self.printed > 60):
            self.printed = now
            left = (now - self.started) / max(step - self.first, 1) * (self.steps - step)
            self.console.print(f"step {step}/{self.steps}  {values}  {left / 60:.0f} min left")

    def scores(self, step: int, evaluation: Evaluation | None) -> None:
        """Prints the numbers that people quote, after an evaluation while training."""
        if not self.shown or evaluation is None:
            return
        for result in evaluation.sets:
            numbers = [f"{title} {100 * value:.2f}" for title, value in result.headline().items()]
            self.console.print(f"step {step}  {result.dataset}: {', '.join(numbers)}", markup=False)

    def rate(self) -> dict[str, float]:
        """Speed since the start, evaluations left out."""
        seconds = time.perf_counter() - self.started - self.away
        speed = (self.done - self.first) * self.images_per_step / max(seconds, 1e-9)
        return {"images_per_second": speed, "seconds": seconds}

    @contextmanager
    def paused(self, what: str) -> Iterator[None]:
        """Shows another activity that is not counted in the speed."""
        started = time.perf_counter()
        self.bar.update(self.task, description=what)
        yield
        self.bar.update(self.task, description="train")
        self.away += time.perf_counter() - started
