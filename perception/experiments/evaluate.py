"""Evaluating a model on labelled frames, by the benchmarks' own evaluators, in original pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from perception.evaluation.protocol import Protocol
from perception.experiments.meters import METERS, Meter
from perception.inference.model import Model, Timing
from perception.structures import Frame
from perception.tasks import Task

_PARTS = ("pre", "network", "post")


@dataclass(frozen=True)
class FrameScore:
    """One frame's own score per task, higher is better; see each meter's `frame_score`."""

    key: str
    scores: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean over the tasks that have a score; NaN without any."""
        known = [v for v in self.scores.values() if not np.isnan(v)]
        return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True)
class SetEvaluation:
    """What one validation set says about a model."""

    dataset: str
    frames: tuple[FrameScore, ...]
    timing: tuple[Timing, ...]
    meters: Mapping[str, Meter] = field(default_factory=dict)  # by task

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """By what each task was measured."""
        unique = {meter.protocol.name: meter.protocol for meter in self.meters.values()}
        return tuple(unique.values())

    @property
    def mean_timing(self) -> Timing:
        """Mean over the frames; the first one, which warms up, is left out where there are more."""
        kept = self.timing[1:] or self.timing
        return Timing(*(float(np.mean([getattr(t, n) for t in kept] or [0.0])) for n in _PARTS))

    def headline(self) -> dict[str, float]:
        """The numbers that people quote."""
        return {title: v for m in self.meters.values() for title, v in m.headline().items()}

    def metrics(self) -> dict[str, float]:
        """Flat numbers by "task/metric"; NaN where nothing was labelled."""
        return {
            f"{task}/{name}": value
            for task, meter in self.meters.items()
            for name, value in meter.metrics().items()
        }


@dataclass(frozen=True)
class Evaluation:
    """Every validation set of a run."""

    sets: tuple[SetEvaluation, ...] = field(default_factory=tuple)

    def metrics(self) -> dict[str, float]:
        """Flat numbers by "data set/task/metric"."""
        return {f"{s.dataset}/{name}": v for s in self.sets for name, v in s.metrics().items()}


def evaluate_set(
    model: Model,
    dataset: str,
    frames: Iterable[Frame],
    tasks: Sequence[Task],
    *,
    box_classes: Mapping[str, Sequence[str]] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> SetEvaluation:
    """Predicts every frame at batch size 1 and updates the meter of each task.

    Args:
        model: what is evaluated; only the heads of `tasks` run.
        dataset: name in the results.
        frames: labelled frames, read one after the other.
        tasks: what is measured; frames carry their labels by the tasks' names.
        box_classes: classes that are scored, by task.
        tick: called after each frame (a progress bar).
    """
    meters = {
        task.name: METERS[task.kind](
            task, model.schemes.get(task.name), tuple((box_classes or {}).get(task.name, ()))
        )
        for task in tasks
    }
    names = tuple(meters)
    scores, timing = [], []
    for frame in frames:
        prediction = model.predict(frame.image, key=frame.key, tasks=names)
        timing.append(model.timing)
        own: dict[str, float] = {}
        for task, meter in meters.items():
            label, result = frame.labels.get(task), prediction.results.get(task)
            if label is not None and result is not None:
                meter.update(frame.key, result, label)
                own[task] = meter.frame_score(result, label)
        scores.append(FrameScore(frame.key, own))
        tick()
    ordered = sorted(meters.items(), key=lambda item: list(METERS).index(item[1].task.kind))
    return SetEvaluation(dataset, tuple(scores), tuple(timing), dict(ordered))
