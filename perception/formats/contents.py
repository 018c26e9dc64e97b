"""What labels hold: pixels and objects by class, and what a training set would lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from perception.formats.manifest import BoxClass, Manifest
from perception.labels import IGNORE_INDEX
from perception.structures import Boxes, Frame

Contents = dict[str, dict[str, int]]  # task → class → pixels or objects
IGNORED, OTHER = "ignored", "of no class"


def contents_of(frame: Frame, manifest: Manifest) -> Contents:
    """Counts of one frame; a task is there where the frame has its label."""
    held: Contents = {}
    if frame.semantic is not None:
        counts = np.bincount(frame.semantic.train_ids.ravel(), minlength=256)
        scheme = frame.semantic.scheme
        held["semantic"] = {c.name: int(counts[c.train_id]) for c in scheme.trained}
        held["semantic"][IGNORED] = int(counts[IGNORE_INDEX])
    if frame.road is not None:
        valid, road = frame.road.valid, frame.road.road & frame.road.valid
        held["road"] = {
            "road": int(road.sum()),
            "not road": int(valid.sum() - road.sum()),
            IGNORED: int(valid.size - valid.sum()),
        }
    if frame.boxes is not None and manifest.boxes:
        held["boxes"] = _objects(frame.boxes, manifest.boxes)
    return held


def add_contents(parts: Iterable[Contents]) -> Contents:
    """The sum of several frames."""
    total: Contents = {}
    for part in parts:
        for task, counts in part.items():
            held = total.setdefault(task, {})
            for name, count in counts.items():
                held[name] = held.get(name, 0) + count
    return total


def lacking(held: Mapping[str, Mapping[str, int]], manifest: Manifest) -> Iterator[str]:
    """Classes of which nothing is there, one line for each task."""
    for task, counts in held.items():
        trained = {n: c for n, c in counts.items() if n not in (IGNORED, OTHER)}
        none = [name for name, count in trained.items() if not count]
        if none and len(none) == len(trained):
            types = ""
            if task == "boxes":
                names = sorted({t for c in manifest.boxes for t in c.types})
                types = f" (types {', '.join(names)})"
            yield f"{task}: nothing of any class{types}; there is nothing to train on"
        elif none:
            yield f"{task}: nothing of {', '.join(none)}"


def _objects(boxes: Boxes, classes: tuple[BoxClass, ...]) -> dict[str, int]:
    """Objects by class, type names compared without case, as the benchmarks do."""
    class_of = {name.lower(): c.name for c in classes for name in c.types}
    near = {name.lower() for c in classes for name in c.neighbours}
    held = dict.fromkeys([*(c.name for c in classes), IGNORED, OTHER], 0)
    for name, ignore in zip(boxes.names.tolist(), boxes.ignore.tolist(), strict=True):
        known = class_of.get(name.lower())
        other = IGNORED if ignore or name.lower() in near else OTHER
        held[other if ignore or known is None else known] += 1
    return held
