"""Runs a benchmark over its files, in one process or several, with the identical result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.folders import own_output
from perception.formats.pseudo_labels import refuse
from perception.processes import map_in_order

CHUNK = 8  # images handed to a worker at once


def _silent(done: int, total: int) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class Outcome:
    """A scored set of files."""

    benchmark: Benchmark[Any, Any]
    jobs: tuple[Any, ...]  # in order of the image's name
    records: tuple[Any, ...]  # the evaluator after each image alone
    result: Result
    inventory: str = ""  # files matched, missing, left over; where the benchmark says so
    left_out: str = ""  # files of the folders that were not scored, by suffix


def run_benchmark(
    benchmark: Benchmark[Any, Any],
    target: Path,
    predicted: Path,
    *,
    workers: int = 1,
    advance: Callable[[int, int], object] = _silent,
) -> Outcome:
    """Finds the files, scores every image, and merges in order of the image's name.

    `advance(done, total)` is called as images are finished. The result does not depend on
    `workers`.

    Raises:
        PerceptionError: the ground truth was made by a model.
    """
    target, predicted = Path(target), own_output(Path(predicted), benchmark.task)
    refuse(target)
    jobs = benchmark.jobs(target, predicted)
    advance(0, len(jobs))
    records = []
    for record in _records(benchmark, jobs, workers):
        records.append(record)
        advance(len(records), len(jobs))
    result = benchmark.result(benchmark.merge(records))
    inventory = benchmark.inventory(predicted, jobs)
    left_out = benchmark.left_out(target, predicted, jobs)
    return Outcome(benchmark, tuple(jobs), tuple(records), result, inventory, left_out)


def _records(benchmark: Benchmark[Any, Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    if workers <= 1 or len(jobs) <= CHUNK:
        yield from benchmark.records(jobs)
        return
    chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    for records in map_in_order(partial(_score_chunk, benchmark), chunks, workers, few=1, chunk=1):
        yield from records


def _score_chunk(benchmark: Benchmark[Any, Any], jobs: Sequence[Any]) -> list[Any]:
    return list(benchmark.records(jobs))
