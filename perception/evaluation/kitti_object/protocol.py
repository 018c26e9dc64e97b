"""The KITTI object benchmark's definitions as data: three generations of one program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from perception.errors import PerceptionError
from perception.evaluation.protocol import Protocol

RECALL_SLOTS = 41  # slot i stands for recall i / 40
METRICS = ("image", "orientation", "ground", "box3d")


@dataclass(frozen=True)
class ObjectClass:
    """One evaluated class; names are compared without regard to case."""

    name: str
    overlap: float  # a match needs more than this
    neighbours: tuple[str, ...] = ()  # labels that absorb a detection without counting
    always: bool = False  # evaluated although nothing of it was detected

    def __str__(self) -> str:
        neighbours = f" (neighbours {', '.join(self.neighbours)})" if self.neighbours else ""
        return f"{self.name} > {self.overlap}{neighbours}{' always' if self.always else ''}"


@dataclass(frozen=True)
class Difficulty:
    """Which labels count; a label beyond any limit is ignored."""

    name: str
    min_height: float  # pixels
    max_occlusion: int
    max_truncation: float

    def __str__(self) -> str:
        return (
            f"{self.name}: height {self.min_height} px, occlusion {self.max_occlusion}, "
            f"truncation {self.max_truncation}"
        )


@dataclass(frozen=True)
class ObjectRules:
    """What one program does; README.md explains every field."""

    name: str  # "kitti_2019"
    version: int
    recall_rule: Literal["R40", "R11", "R41"]
    limit_height_counts: bool  # a label of exactly the minimum height is scored
    short_detections: bool  # detections below the minimum height are neither right nor wrong
    left_edge: bool  # a class needs a detection with left edge >= 0 to be evaluated
    frames: Literal["labels", "results"]  # every labelled frame, or those with a result file
    last_frame: int | None  # frame numbers above it are left out
    own_files: str  # pattern of text files that the program itself puts among the results
    decimals: int | None  # curve entries are rounded before the mean is taken
    metrics: tuple[str, ...]
    classes: tuple[ObjectClass, ...]
    difficulties: tuple[Difficulty, ...]

    @property
    def protocol(self) -> Protocol:
        """The definition that is written beside scores."""
        values = asdict(self)
        values["classes"] = [str(kind) for kind in self.classes]
        values["difficulties"] = [str(level) for level in self.difficulties]
        values["metrics"] = list(self.metrics)
        return Protocol(f"kitti_object/{values.pop('name')}", values.pop("version"), values)


CAR = ObjectClass("car", 0.7, ("van",))
PEDESTRIAN = ObjectClass("pedestrian", 0.5, ("person_sitting",))
CYCLIST = ObjectClass("cyclist", 0.5)
EASY = Difficulty("easy", 40, 0, 0.15)
MODERATE = Difficulty("moderate", 25, 1, 0.30)
HARD = Difficulty("hard", 25, 2, 0.50)

KITTI_2019 = ObjectRules(
    "kitti_2019",
    1,
    "R40",
    limit_height_counts=False,
    short_detections=True,
    left_edge=True,
    frames="labels",
    last_frame=None,
    own_files="",
    decimals=None,
    metrics=METRICS,
    classes=(CAR, PEDESTRIAN, CYCLIST),
    difficulties=(EASY, MODERATE, HARD),
)
PRCLIBO_2017 = ObjectRules(
    "prclibo_2017",
    1,
    "R11",
    limit_height_counts=True,
    short_detections=True,
    left_edge=True,
    frames="results",
    last_frame=None,
    own_files="",
    decimals=None,
    metrics=METRICS,
    classes=(CAR, PEDESTRIAN, CYCLIST),
    difficulties=(EASY, MODERATE, HARD),
)
KITTIBOX_2015 = ObjectRules(
    "kittibox_2015",
    1,
    "R41",
    limit_height_counts=True,
    short_detections=False,
    left_edge=False,
    frames="results",
    last_frame=7517,
    own_files=r"stats_.*\.txt",
    decimals=6,
    metrics=("image",),
    classes=(ObjectClass("car", 0.7, ("van",), always=True), PEDESTRIAN, CYCLIST),
    difficulties=(EASY, MODERATE, HARD),
)
PROTOCOLS = {rules.name: rules for rules in (KITTI_2019, PRCLIBO_2017, KITTIBOX_2015)}


def find_rules(name: str) -> ObjectRules:
    """The rules "kitti_2019" or "kitti_object/kitti_2019"."""
    found = PROTOCOLS.get(name.removeprefix("kitti_object/"))
    if found is None:
        raise PerceptionError(
            f"protocol {name}",
            "no such protocol",
            f"one of {', '.join(PROTOCOLS)}",
            "README.md of perception/evaluation/kitti_object tells them apart.",
        )
    return found
