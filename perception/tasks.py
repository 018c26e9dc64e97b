"""What a network can be asked: a task is a name and a kind, and the kind decides what is done.

Labels, targets and predictions are mappings from task names to values; whoever warps, stacks,
measures, draws or writes them has one table by kind. A new task of a known kind needs no code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from perception.errors import PerceptionError

# What predictions call something else: folders of `predict`, and keys of its JSON.
RESERVED = frozenset({"json", "overlays", "key", "height", "width"})


class Kind(StrEnum):
    """What the answer to a task is made of."""

    MASK = "mask"  # yes or no for every pixel: road, lane, drivable
    CLASSES = "classes"  # one class for every pixel: semantic
    VALUES = "values"  # one number for every pixel: depth
    BOXES = "boxes"  # objects as boxes with classes
    INSTANCES = "instances"  # objects as masks with classes


@dataclass(frozen=True)
class Task:
    """One question to a network.

    Raises:
        PerceptionError: a name that is no word, or that predictions use for something else.
    """

    name: str  # "road"; also the name of its head, its outputs and its metrics
    kind: Kind
    unit: str = ""  # of VALUES, e.g. "m"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.name, re.ASCII):
            raise PerceptionError("task", repr(self.name), "a word of letters, digits and _")
        if self.name.lower() in RESERVED or self.name.endswith("_share"):
            raise PerceptionError(
                f"task {self.name}",
                "a name that predictions use for something else",
                "any other, e.g. with my_ before it",
            )


STANDARD = {
    task.name: task
    for task in (
        Task("road", Kind.MASK),
        Task("lane", Kind.MASK),
        Task("semantic", Kind.CLASSES),
        Task("boxes", Kind.BOXES),
    )
}
