"""Runs a benchmark over its files, in one process or several, with the identical result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from perception.errors import PerceptionError
from perception.scoring.benchmark import Benchmark, Result

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
    """
    jobs = benchmark.jobs(Path(target), Path(predicted))
    advance(0, len(jobs))
    records = []
    for record in _records(benchmark, jobs, workers):
        records.append(record)
        advance(len(records), len(jobs))
    result = benchmark.result(benchmark.merge(records))
    inventory = benchmark.inventory(Path(predicted), jobs)
    return Outcome(benchmark, tuple(jobs), tuple(records), result, inventory)


def _records(benchmark: Benchmark[Any, Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    workers = min(workers, -(-len(jobs) // CHUNK))
    if workers <= 1:
        yield from benchmark.records(jobs)
        return
    # a twentieth of a second that one process does not need
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    from perception.processes import start_worker, worker_context

    chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    context = worker_context(type(benchmark).__module__)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        for records in pool.map(partial(_score_chunk, benchmark), chunks):
            yield from records
    except BrokenProcessPool as error:
        raise PerceptionError(
            "workers",
            "a worker process that died",
            "all alive to the end",
            "Usually memory is short: use fewer --workers.",
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _score_chunk(benchmark: Benchmark[Any, Any], jobs: Sequence[Any]) -> list[Any]:
    return list(benchmark.records(jobs))
