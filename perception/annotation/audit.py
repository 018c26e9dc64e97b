"""`perception audit`: the mistakes in a labelled folder, found without converting it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perception.annotation import formats
from perception.annotation.checks import LOW_BOX, FileFacts, Finding, inspect
from perception.annotation.classes import LabelTable
from perception.annotation.convert import plan
from perception.annotation.interfaces import Item, Settings
from perception.annotation.sources import labelme as labelme_source
from perception.files.finding import IMAGE_SUFFIXES, files_in
from perception.processes import map_in_order

SEVERITIES = ("error", "warn", "info")


@dataclass(frozen=True)
class Audit:
    """All that was found."""

    findings: tuple[Finding, ...]  # errors first, then by file and shape
    files: tuple[FileFacts, ...]
    items: tuple[Item, ...]

    def count(self, severity: str) -> int:
        """Findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)


def audit_folder(
    src: Path,
    settings: Settings,
    *,
    workers: int = 1,
    progress: Callable[[Iterable[FileFacts], int], Iterable[FileFacts]] = lambda done, _: done,
) -> Audit:
    """Reads every annotation below `src` as converting would, and more."""
    found = labelme_source.find(src, settings)
    items = found.items
    facts = tuple(progress(map_in_order(partial(inspect, settings), items, workers), len(items)))
    findings = [finding for one in facts for finding in one.findings]
    findings += [
        Finding("error" if problem.error else "warn", problem.reason, problem.detail, folder)
        for folder, problem in found.notes
    ]
    findings += _clashes(items, settings)
    findings += _spellings(facts, settings.table)
    findings += _same_images(facts)
    findings += _unlabelled_images(facts, src)
    findings += _low_boxes(facts)
    findings += _facts(facts)
    return Audit(tuple(sorted(dict.fromkeys(findings), key=_order)), facts, tuple(items))


def _order(finding: Finding) -> tuple[int, str, int, str, str]:
    shape = -1 if finding.shape is None else finding.shape
    return (SEVERITIES.index(finding.severity), finding.file, shape, finding.reason, finding.detail)


def _clashes(items: list[Item], settings: Settings) -> Iterator[Finding]:
    """Files that would get the same name in a target whose names they follow."""
    for name in ("kitti_road", "kitti_object", "cityscapes"):
        for job in plan(items, formats.target(name), settings):
            if job.clash is not None:
                yield Finding(
                    "error",
                    "duplicate_name",
                    f"{job.clash} would also be {job.name} in {name}; "
                    "rename one, or convert with --renumber",
                    job.item.file,
                )


def _spellings(facts: Iterable[FileFacts], table: LabelTable) -> Iterator[Finding]:
    """Labels that mean one class and are written in several ways, or nearly are one."""
    counts: Counter[str] = Counter()
    for one in facts:
        counts.update(one.labels)
    ways: dict[str, Counter[str]] = {}
    for label, count in counts.items():
        resolved = table.resolve(label)
        name = resolved.meaning.name if resolved else table.suggest(label)
        if name is not None:
            ways.setdefault(name, Counter())[label] += count
    for name, spelt in sorted(ways.items()):
        if len(spelt) > 1:
            listed = ", ".join(f"{label} ({count})" for label, count in spelt.most_common())
            yield Finding("warn", "label_spellings", f"{name} is written as {listed[:500]}")


def _same_images(facts: Iterable[FileFacts]) -> Iterator[Finding]:
    files: dict[str, list[str]] = {}
    for one in facts:
        if one.pixels:
            files.setdefault(one.pixels, []).append(one.file)
    for names in files.values():
        for name in names[1:]:
            yield Finding("warn", "same_image", f"the same pixels as {names[0]}", name)


def _unlabelled_images(facts: Iterable[FileFacts], src: Path) -> Iterator[Finding]:
    """Images in the folders of labelled ones that no annotation uses."""
    root = Path(os.path.realpath(src))
    root = root if src.is_dir() else root.parent
    used = {Path(os.path.realpath(one.image)) for one in facts if one.image is not None}
    named = {(root / one.file).with_suffix("") for one in facts}  # also those with errors
    for folder in sorted({path.parent for path in used}):
        for path in files_in(folder, IMAGE_SUFFIXES).files:
            labelled = Path(os.path.realpath(path)) in used or path.with_suffix("") in named
            if not labelled:
                name = path.relative_to(root) if root in path.parents else path
                yield Finding("warn", "image_without_labels", f"{name} has no annotation")


def _low_boxes(facts: Iterable[FileFacts]) -> Iterator[Finding]:
    low: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for one in facts:
        for name, height in one.box_heights:
            total[name] += 1
            low[name] += height < LOW_BOX
    for name, count in sorted(low.items()):
        if count:
            yield Finding(
                "warn",
                "low_boxes",
                f"{name}: {count} of {total[name]} boxes are lower than "
                f"{LOW_BOX:.0f} pixels; KITTI evaluates none of them",
            )


def _facts(facts: tuple[FileFacts, ...]) -> Iterator[Finding]:
    """Counts that help to see what a folder holds."""
    readable = sum(one.readable for one in facts)
    yield Finding("info", "files", f"{len(facts)} annotations, {readable} without error")

    def counted(name: str, values: Iterable[str]) -> Finding:
        rows = Counter(values).most_common()
        return Finding("info", name, ", ".join(f"{value}: {count}" for value, count in rows))

    yield counted("labels", (k for one in facts for k, n in one.labels.items() for _ in range(n)))
    yield counted(
        "shape_types", (k for one in facts for k, n in one.types.items() for _ in range(n))
    )
    yield counted("image_sizes", (f"{one.size[1]}x{one.size[0]}" for one in facts if one.size))
    yield counted("versions", (one.version for one in facts if one.version))
    shapes = sum(one.shapes for one in facts)
    flagged = sum(one.flagged for one in facts)
    yield Finding("info", "flagged", f"{flagged} of {shapes} shapes have a flag")
