"""What labels hold: pixels and objects by class, and what a training set would lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from perception.formats.manifest import BoxClass, Manifest
from perception.labels import IGNORE_INDEX
from perception.structures import (
    Boxes,
    Frame,
    Label,
    MaskLabel,
    RoadLabel,
    SemanticLabel,
    ValuesLabel,
)
from perception.tasks import Kind

Contents = dict[str, dict[str, int]]  # task → class → pixels or objects
IGNORED, OTHER, KNOWN = "ignored", "of no class", "known"


def contents_of(frame: Frame, manifest: Manifest) -> Contents:
    """Counts of one frame; a task is there where the frame has its label."""
    return {
        task: counted(frame.labels[task], task, manifest.boxes)
        for task, info in manifest.tasks.items()
        if task in frame.labels and (info.kind is not Kind.BOXES or manifest.boxes)
    }


def counted(label: Label, task: str, classes: Sequence[BoxClass] = ()) -> dict[str, int]:
    """Pixels or objects of one label by class; `classes` are those of boxes."""
    return _COUNT[label.kind](label, task, classes)


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
        none = empty_classes(counts)
        if none and not holds_something(counts):
            types = ""
            if task == "boxes":
                names = sorted({t for c in manifest.boxes for t in c.types})
                types = f" (types {', '.join(names)})"
            yield f"{task}: nothing of any class{types}; there is nothing to train on"
        elif none:
            yield f"{task}: nothing of {', '.join(none)}"


def empty_classes(counts: Mapping[str, int]) -> list[str]:
    """Classes of one task without a pixel or object."""
    return [name for name, count in counts.items() if not count and name not in (IGNORED, OTHER)]


def holds_something(counts: Mapping[str, int]) -> bool:
    """Whether there is a pixel or object of any class."""
    return any(count for name, count in counts.items() if name not in (IGNORED, OTHER))


def in_words(counts: Mapping[str, int], kind: Kind) -> str:
    """Objects as they are, pixels in percent; the commonest first, what is ignored last."""
    last = {IGNORED: 1, OTHER: 2}
    order = sorted(counts.items(), key=lambda item: (last.get(item[0], 0), -item[1]))
    if kind is Kind.BOXES:
        return ", ".join(f"{name} {count:,}" for name, count in order)
    pixels = max(sum(counts.values()), 1)
    return ", ".join(f"{name} {100 * count / pixels:.3g} %" for name, count in order)


def _classes(label: SemanticLabel, _task: str, _: Sequence[BoxClass]) -> dict[str, int]:
    counts = np.bincount(label.train_ids.ravel(), minlength=IGNORE_INDEX + 1)
    held = {c.name: int(counts[c.train_id]) for c in label.scheme.trained}
    return held | {IGNORED: int(counts[IGNORE_INDEX])}


def _mask(label: MaskLabel | RoadLabel, task: str, _: Sequence[BoxClass]) -> dict[str, int]:
    inside, valid = int((label.mask & label.valid).sum()), int(label.valid.sum())
    return {task: inside, f"not {task}": valid - inside, IGNORED: label.valid.size - valid}


def _values(label: ValuesLabel, _task: str, _: Sequence[BoxClass]) -> dict[str, int]:
    known = int(np.isfinite(label.values).sum())
    return {KNOWN: known, IGNORED: label.values.size - known}


def _objects(boxes: Boxes, _task: str, classes: Sequence[BoxClass]) -> dict[str, int]:
    """Objects by class, type names compared without case, as the benchmarks do."""
    class_of = {name.lower(): c.name for c in classes for name in c.types}
    near = {name.lower() for c in classes for name in c.neighbours}
    held = dict.fromkeys([*(c.name for c in classes), IGNORED, OTHER], 0)
    for name, ignore in zip(boxes.names.tolist(), boxes.ignore.tolist(), strict=True):
        known = class_of.get(name.lower())
        other = IGNORED if ignore or name.lower() in near else OTHER
        held[other if ignore or known is None else known] += 1
    return held


_COUNT: dict[Kind, Callable[[Any, str, Sequence[BoxClass]], dict[str, int]]] = {
    Kind.MASK: _mask,
    Kind.CLASSES: _classes,
    Kind.VALUES: _values,
    Kind.BOXES: _objects,
}
