"""What `perception score` asks of a benchmark: find the files, score one image, tell the result.

One class per benchmark, a frozen dataclass whose fields are its options (plain JSON values). Its
record is the benchmark's own evaluator after one image, so that the whole score is the merge of
the records, in whatever process they were made.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.folders import left_out
from perception.evaluation.protocol import Protocol as Definition
from perception.report.parts import Panel, Section, Table


class Job(Protocol):
    """The files of one image."""

    @property
    def key(self) -> str:
        """Name of the image, unique; records are compared by it."""


class Evaluator(Protocol):
    """An evaluator's state; `compute` belongs to the benchmark's own class."""

    def merge(self, other: Self) -> Self:
        """Both parts together."""


J = TypeVar("J", bound=Job)
R = TypeVar("R", bound=Evaluator)


@dataclass(frozen=True)
class Result:
    """What is told about all images together."""

    headline: Mapping[str, float]  # the numbers that people quote, with their full name
    values: Mapping[str, object]  # everything, for JSON; keys of the benchmark's README
    tables: tuple[Table, ...]  # for the terminal and the page
    sections: tuple[Section, ...] = ()  # for the page alone: curves, confusion
    notes: tuple[str, ...] = ()  # what the reader should know before quoting a number


@dataclass(frozen=True)
class Benchmark(ABC, Generic[J, R]):
    """A benchmark with its options."""

    name: str  # protocol name, e.g. "kitti_road/bev"

    @staticmethod
    @abstractmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """Adds the options beside --gt and --pred; `dest` is the field of the same name."""

    @property
    @abstractmethod
    def protocol(self) -> Definition:
        """The definition that the numbers are measured by."""

    @abstractmethod
    def jobs(self, target: Path, predicted: Path) -> list[J]:
        """Every image that counts, in order of its name.

        Raises:
            PerceptionError: a file is missing, or there is one too many.
        """

    @abstractmethod
    def score_one(self, job: J) -> R:
        """The evaluator after this one image.

        Raises:
            PerceptionError: a file cannot be read or does not fit; the message names it.
        """

    @abstractmethod
    def result(self, total: R) -> Result:
        """The result of the merged records.

        Raises:
            PerceptionError: a score is undefined, e.g. a category without any road pixel.
        """

    @abstractmethod
    def headline(self, total: R) -> Mapping[str, float]:
        """The numbers of `result(total).headline`, without anything else; NaN where undefined."""

    @abstractmethod
    def image_scores(self, record: R) -> Mapping[str, float]:
        """Columns for the table of images; the worst images have the lowest first column."""

    @abstractmethod
    def encode(self, record: R) -> Any:
        """The record as plain JSON values."""

    @abstractmethod
    def decode(self, value: Any) -> R:
        """The record from what `encode` gave."""

    task = ""  # folder of the predictions in what `perception predict` writes
    deep = False  # labels and predictions lie anywhere below their folders
    beside: ClassVar[tuple[str, ...]] = ()  # ends of names, in lower case, that are never scored

    def left_out(self, target: Path, predicted: Path, jobs: Sequence[J]) -> str:
        """How many files of the two folders are not scored, by suffix; empty where all are."""
        used = {value for job in jobs for value in vars(job).values() if isinstance(value, Path)}
        sides = {
            "labels": left_out(target, used, below=self.deep, known=self.beside),
            "predictions": left_out(predicted, used, below=self.deep, known=self.beside),
        }
        return "; ".join(f"{side}: {count}" for side, count in sides.items() if count)

    def inventory(self, predicted: Path, jobs: Sequence[J]) -> str:  # noqa: ARG002
        """What was matched and what was left over, for the reader; missing files are errors."""
        return ""

    def panels(self, job: J) -> tuple[Panel, ...]:  # noqa: ARG002
        """Pictures of one image, side by side: label, prediction, errors."""
        return ()

    image_note = (
        "Each image scored by itself: not the pooled scores above, whose thresholds and counts are "
        "common to all images."
    )

    def each_image(self, records: Sequence[R]) -> Sequence[Mapping[str, float]]:
        """`image_scores` of every record; override where they depend on the whole set."""
        return [self.image_scores(record) for record in records]

    def panels_of(
        self,
        jobs: Sequence[J],
        records: Sequence[R],  # noqa: ARG002
        chosen: Sequence[int],
    ) -> list[tuple[Panel, ...]]:
        """`panels` of the chosen jobs; override where they depend on the whole set."""
        return [self.panels(jobs[i]) for i in chosen]

    def records(self, jobs: Sequence[J]) -> Iterator[R]:
        """One record per job, in order; override where reading many at once is faster."""
        for job in jobs:
            yield self.score_one(job)

    def merge(self, records: Sequence[R]) -> R:
        """All records together; override where folding pairwise is slow."""
        return reduce(lambda a, b: a.merge(b), records)

    def resampler(self, records: Sequence[R]) -> Callable[[NDArray[np.int64]], Mapping[str, float]]:
        """Headline numbers as a function of how often each record is drawn; override to be fast."""

        def headline(times: NDArray[np.int64]) -> Mapping[str, float]:
            drawn = [record for record, n in zip(records, times, strict=True) for _ in range(n)]
            return self.headline(self.merge(drawn))

        return headline
