"""What a network can be asked: a task is a name and a kind, and the kind decides what is done.

Labels, targets and predictions are mappings from task names to values; whoever warps, stacks,
measures, draws or writes them has one table by kind. A new task of a known kind needs no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What the answer to a task is made of."""

    MASK = "mask"  # yes or no for every pixel: road, lane, drivable
    CLASSES = "classes"  # one class for every pixel: semantic
    VALUES = "values"  # one number for every pixel: depth
    BOXES = "boxes"  # objects as boxes with classes
    INSTANCES = "instances"  # objects as masks with classes


@dataclass(frozen=True)
class Task:
    """One question to a network."""

    name: str  # "road"; also the name of its head, its outputs and its metrics
    kind: Kind
    unit: str = ""  # of VALUES, e.g. "m"


STANDARD = {
    task.name: task
    for task in (
        Task("road", Kind.MASK),
        Task("lane", Kind.MASK),
        Task("semantic", Kind.CLASSES),
        Task("boxes", Kind.BOXES),
    )
}
