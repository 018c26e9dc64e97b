"""Converting a folder: find, name, read, write; each file for itself, and a report of all.

The result depends on nothing but the input: not on the number of workers, the order of the
directory, the locale or the clock.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from perception.annotation import formats
from perception.annotation.interfaces import Item, Sample, Settings, Target
from perception.annotation.report import FileResult, Report
from perception.annotation.scene import Scene, compose
from perception.annotation.splitting import split_of
from perception.errors import PerceptionError, UsageError
from perception.files import atomic_open
from perception.formats.problems import Problem, RefusedError
from perception.processes import map_in_order

In = TypeVar("In")
Out = TypeVar("Out")

SERIAL_FILES = 4  # starting workers takes longer than so few files


@dataclass(frozen=True)
class Job:
    """One annotation and where its outputs go."""

    item: Item
    name: str
    clash: str | None = None  # another file that would get the same name
    split: str = ""  # "train" or "val" where frames are kept for validation


def convert_folder(
    source_name: str,
    target_name: str,
    src: Path,
    out: Path,
    settings: Settings,
    *,
    workers: int = 1,
    options: dict[str, Any] | None = None,
    progress: Callable[[Iterable[FileResult], int], Iterable[FileResult]] = lambda done, _: done,
) -> Report:
    """Converts everything below `src` into `out` and writes `out/report.json`.

    Args:
        source_name, target_name: names of `annotation.formats`.
        settings: what the user asked for.
        workers: processes.
        options: kept in the report.
        progress: wraps the results as they come, given their number.

    Raises:
        UsageError: nothing of the format in `src`, or an output would fall into it.
        PerceptionError: `out` cannot be written.
    """
    source, target = formats.source(source_name), formats.target(target_name)
    settings = replace(settings, rasters=target.rasters)
    _check_folders(src, out, target)
    found = source.find(src, settings)
    jobs = plan(found.items, target, settings)
    if settings.val_share is not None:
        splits = split_of(found.items, settings.val_share)
        jobs = [replace(job, split=part) for job, part in zip(jobs, splits, strict=True)]
    run = partial(_run, source_name, target_name, out, settings)
    results = list(progress(map_in_order(run, jobs, workers), len(jobs)))
    if target.finish is not None:
        parts = [(result.name, result.part) for result in results if not result.failed]
        for path, content in target.finish(parts, settings).items():
            write_if_changed(out / path, content)
    if target.lists and settings.val_share is not None:
        for part in ("train", "val"):
            names = [r.name for r in results if r.split == part and not r.failed]
            listed = "".join(f"{name}\n" for name in sorted(names))
            write_if_changed(out / f"splits/{part}.txt", listed.encode("utf-8", "replace"))
    kept = tuple(replace(result, part=None) for result in results)
    report = Report(target_name, options or {}, kept, found.notes, found.hidden)
    write_if_changed(out / "report.json", report.encode())
    return report


def plan(items: list[Item], target: Target, settings: Settings) -> list[Job]:
    """Output names: kept where all follow the format already, else numbers in path order."""
    names = [target.kept(item.stem) for item in items]
    if settings.renumber or any(name is None for name in names):
        return [Job(item, target.numbered(n, settings)) for n, item in enumerate(items)]
    counts = Counter(names)
    first = {name: item.file for name, item in reversed(list(zip(names, items, strict=True)))}
    last = {name: item.file for name, item in zip(names, items, strict=True)}
    jobs = []
    for item, name in zip(items, names, strict=True):
        assert name is not None
        other = first[name] if first[name] != item.file else last[name]
        jobs.append(Job(item, name, other if counts[name] > 1 else None))
    return jobs


def write_if_changed(path: Path, content: bytes) -> None:
    """Writes a file whole, unless it is already what it should be."""
    try:
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    except OSError:
        pass
    with atomic_open(path) as file:
        file.write(content)


# ---------------------------------------------------------------------------- one file


def _run(source_name: str, target_name: str, out: Path, settings: Settings, job: Job) -> FileResult:
    """Reads, converts and writes one annotation; whatever is wrong with it is in the result."""
    source, target = formats.source(source_name), formats.target(target_name)
    problems: list[Problem] = []
    if job.clash is not None:
        problems.append(
            Problem(
                "duplicate_name",
                f"{job.clash} would also be {job.name}; rename one, or give --renumber",
                error=True,
            )
        )
    try:
        sample = source.read(job.item, settings)
        return _write(sample, target, out, settings, job, problems)
    except RefusedError as error:
        problems.append(error.problem)
    except PerceptionError as error:
        if isinstance(error.__cause__, OSError):  # a full disk concerns all files
            raise
        problems.append(Problem("bad_label", str(error), error=True))
    except MemoryError:
        problems.append(Problem("out_of_memory", "not enough memory for this file", error=True))
    except Exception as error:  # one file never stops the others
        detail = f"{type(error).__name__}: {error}"[:300]
        problems.append(Problem("internal_error", f"{detail}. Please report this.", error=True))
    return FileResult(job.item.file, job.name, problems=tuple(problems))


def _write(
    sample: Sample, target: Target, out: Path, settings: Settings, job: Job, problems: list[Problem]
) -> FileResult:
    problems += sample.problems
    frame = sample.frame
    if frame is None:
        return FileResult(job.item.file, job.name, problems=tuple(problems))
    scene = Scene(frame.image.size, (), len(frame.shapes or ()))
    if target.drawn:
        scene, found = compose(
            frame.shapes or (),
            frame.image.size,
            settings.table,
            unknown=settings.unknown,
            order=settings.painter_order,
            matters=target.matters,
        )
        problems += found
    if any(problem.error for problem in problems):
        return FileResult(job.item.file, job.name, problems=tuple(problems))
    settings = replace(settings, part=job.split)
    written = target.write(frame, scene, job.name, job.item.stem, settings)
    problems += written.problems
    for path, content in written.outputs.items():
        write_if_changed(out / path, content)
    return FileResult(
        job.item.file,
        job.name,
        tuple(sorted(written.outputs)),
        tuple(problems),
        written.part,
        job.split,
    )


# ---------------------------------------------------------------------------- all files


def _check_folders(src: Path, out: Path, target: Target) -> None:
    """The source is never changed: no output below it."""
    real_src, real_out = Path(os.path.realpath(src)), Path(os.path.realpath(out))
    if real_src.is_dir() and (real_out == real_src or real_src in real_out.parents):
        raise UsageError(
            out,
            "an output folder inside the source",
            "another folder",
            "Choose an output folder beside the source.",
        )
    if real_out in real_src.parents:
        first = real_src.relative_to(real_out).parts[0]
        if first in target.folders or "" in target.folders:
            raise UsageError(
                out,
                f"the source in its subfolder {first}, which is written to",
                "another folder",
                "Choose another output folder.",
            )
