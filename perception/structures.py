"""What flows through the project: frames with their labels, predictions, calibration.

Labels and results are mappings from task names to values that know their kind
(`perception.tasks`); `.road`, `.boxes` and `.semantic` name the usual ones. All frozen, all numpy,
no torch. Coordinates as in docs/coordinates.md: continuous, x right, y down, pixel (row i,
column j) covers [j, j+1) x [i, i+1); a box is (x1, y1, x2, y2) with width x2 - x1. A missing label
is None, an empty one is empty: they mean different things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import image_size, read_image
from perception.labels import LabelScheme
from perception.tasks import Kind

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Image:
    """Pixels on disk (read when asked for) or in memory."""

    size: tuple[int, int]  # (height, width)
    path: Path | None = None
    pixels: NDArray[np.uint8] | None = None  # (H, W, 3) RGB

    @classmethod
    def of(cls, source: Path | NDArray[np.uint8]) -> Image:
        """An image file, of which only the header is read, or (H, W, 3) RGB pixels."""
        if isinstance(source, np.ndarray):
            return cls((source.shape[0], source.shape[1]), pixels=source)
        return cls(image_size(source), path=Path(source))

    def read(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise ValueError("an Image needs a path or pixels")
        return read_image(self.path)


@dataclass(frozen=True)
class Calibration:
    """Camera matrices of one frame, with KITTI's names."""

    matrices: Mapping[str, Float]  # P0..P3 (3, 4), R0_rect (3, 3), Tr_* (3, 4)
    path: Path | None = None  # for error messages

    def matrix(self, name: str) -> Float:
        """The matrix `name`; a `PerceptionError` that names file and key when it is absent."""
        try:
            return self.matrices[name]
        except KeyError:
            raise PerceptionError(
                f"{self.path or 'calibration'}: {name}",
                f"no such matrix (the file has {', '.join(self.matrices) or 'none'})",
                do="Use this frame's own calibration file.",
            ) from None


@dataclass(frozen=True)
class MaskLabel:
    """Where something is (road, lane, what can be driven on); all (H, W) bool."""

    mask: NDArray[np.bool_]
    valid: NDArray[np.bool_]  # False: unsure, not trained, not scored
    kind: ClassVar[Kind] = Kind.MASK


@dataclass(frozen=True)
class RoadLabel:
    """Where the road is; all (H, W) bool."""

    road: NDArray[np.bool_]
    valid: NDArray[np.bool_]  # False: unsure, not trained, not scored
    lane: NDArray[np.bool_] | None = None  # the ego lane
    kind: ClassVar[Kind] = Kind.MASK

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The road: what every label of its kind calls `mask`."""
        return self.road


@dataclass(frozen=True)
class ValuesLabel:
    """A number for every pixel, e.g. its depth."""

    values: NDArray[np.float32]  # (H, W), NaN where unknown
    unit: str = ""
    kind: ClassVar[Kind] = Kind.VALUES


@dataclass(frozen=True)
class SemanticLabel:
    """The class of every pixel."""

    ids: NDArray[np.uint8]  # (H, W) *ids* (not train ids) of `scheme`
    scheme: LabelScheme
    kind: ClassVar[Kind] = Kind.CLASSES

    @property
    def train_ids(self) -> NDArray[np.uint8]:
        """(H, W) train ids, 255 where ignored."""
        return self.scheme.id_to_train[self.ids]


@dataclass(frozen=True)
class Boxes:
    """N labelled or predicted boxes, one column per property; all numbers float64.

    float32 is for `Batch` only: 0.15 in float32 is above 0.15.
    """

    xyxy: Float  # (N, 4) pixels
    names: NDArray[np.str_]  # (N,) class names
    score: Float  # (N,) NaN: a label
    truncation: Float  # (N,) 0..1, NaN or -1: unknown
    occlusion: NDArray[np.int64]  # (N,) 0 visible .. 2 largely occluded, 3 or -1: unknown
    alpha: Float  # (N,) observation angle, radians, NaN or -10: unknown
    dimensions: Float  # (N, 3) height, width, length in metres, NaN: unknown
    location: Float  # (N, 3) x, y, z of the bottom centre, camera frame, metres
    rotation_y: Float  # (N,) radians
    ignore: NDArray[np.bool_]  # (N,) regions that are neither right nor wrong (DontCare)
    kind: ClassVar[Kind] = Kind.BOXES

    @classmethod
    def of(
        cls,
        xyxy: Any,
        names: Sequence[str] | NDArray[np.str_],
        *,
        score: Any = None,
        **columns: Any,
    ) -> Boxes:
        """Boxes from (N, 4) corners and N names; columns left out are unknown."""
        corners = np.asarray(xyxy, np.float64).reshape(-1, 4)
        n = len(corners)
        unknown: dict[str, Any] = {
            "score": np.full(n, np.nan) if score is None else score,
            "truncation": np.full(n, np.nan),
            "occlusion": np.full(n, -1),
            "alpha": np.full(n, np.nan),
            "dimensions": np.full((n, 3), np.nan),
            "location": np.full((n, 3), np.nan),
            "rotation_y": np.full(n, np.nan),
            "ignore": np.zeros(n, bool),
        }
        if extra := set(columns) - set(unknown):
            raise TypeError(f"unknown columns {sorted(extra)}")
        kinds = {"occlusion": np.int64, "ignore": np.bool_}
        values: dict[str, Any] = {
            name: np.asarray(value, kinds.get(name, np.float64))
            for name, value in (unknown | columns).items()
        }
        for name in ("dimensions", "location"):
            values[name] = values[name].reshape(-1, 3)
        made = cls(corners, np.asarray(names, np.str_).reshape(-1), **values)
        if any(len(getattr(made, f.name)) != n for f in fields(made)):
            raise ValueError(f"every column must have {n} rows")
        return made

    @classmethod
    def empty(cls) -> Boxes:
        """No boxes: labelled, and nothing there."""
        return cls.of(np.zeros((0, 4)), [])

    @classmethod
    def concatenate(cls, parts: Sequence[Boxes]) -> Boxes:
        """All rows of all parts, in order."""
        parts = parts or [cls.empty()]
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: Any) -> Boxes:
        """The chosen rows (mask, indices or slice)."""
        return Boxes(*(getattr(self, f.name)[rows] for f in fields(self)))

    def replace(self, **columns: Any) -> Boxes:
        """A copy with some columns replaced."""
        return replace(self, **columns)


@dataclass(frozen=True)
class Shape:
    """One shape as a person drew it (labelme's terms)."""

    label: str
    type: str  # polygon, rectangle, circle, line, linestrip, ...
    points: Float  # (N, 2) x, y
    group_id: int | str | None = None
    flags: Mapping[str, bool] = field(default_factory=dict)
    description: str = ""
    mask: NDArray[np.bool_] | None = None  # for type "mask": pixels inside the two points
    extra: Mapping[str, Any] = field(default_factory=dict)  # keys we do not know, kept


Label = RoadLabel | MaskLabel | SemanticLabel | ValuesLabel | Boxes


@dataclass(frozen=True, init=False)
class Frame:
    """One image and whatever is known about it.

    Labels are given by task name: `Frame(key, image, road=..., depth=...)`, or as one mapping
    `labels`. `None` is no label.
    """

    key: str  # unique in its dataset, e.g. "um_000005"
    image: Image
    calibration: Calibration | None
    labels: Mapping[str, Label]  # by task
    instances: NDArray[np.int32] | None  # (H, W) Cityscapes: id * 1000 + n, or id
    shapes: tuple[Shape, ...] | None
    flags: Mapping[str, bool]
    extra: Mapping[str, Any]

    def __init__(
        self,
        key: str,
        image: Image,
        calibration: Calibration | None = None,
        *,
        labels: Mapping[str, Label] | None = None,
        instances: NDArray[np.int32] | None = None,
        shapes: tuple[Shape, ...] | None = None,
        flags: Mapping[str, bool] | None = None,
        extra: Mapping[str, Any] | None = None,
        **named: Label | None,
    ) -> None:
        _fill(
            self,
            key=key,
            image=image,
            calibration=calibration,
            labels=by_task(labels, named),
            instances=instances,
            shapes=shapes,
            flags=flags or {},
            extra=extra or {},
        )

    @property
    def road(self) -> RoadLabel | None:
        """The label of the task road."""
        return _of(self.labels, "road", RoadLabel)

    @property
    def boxes(self) -> Boxes | None:
        """The label of the task boxes."""
        return _of(self.labels, "boxes", Boxes)

    @property
    def semantic(self) -> SemanticLabel | None:
        """The label of the task semantic."""
        return _of(self.labels, "semantic", SemanticLabel)


@dataclass(frozen=True)
class MaskResult:
    """The probability of a mask."""

    probability: NDArray[np.float32]  # (H, W)
    kind: ClassVar[Kind] = Kind.MASK


@dataclass(frozen=True)
class ClassesResult:
    """The most probable class of every pixel."""

    label: SemanticLabel
    score: NDArray[np.float32] | None = None  # (H, W) probability of that class
    kind: ClassVar[Kind] = Kind.CLASSES


@dataclass(frozen=True)
class ValuesResult:
    """A number for every pixel."""

    values: NDArray[np.float32]  # (H, W)
    unit: str = ""
    kind: ClassVar[Kind] = Kind.VALUES


Result = MaskResult | ClassesResult | ValuesResult | Boxes


@dataclass(frozen=True, init=False)
class Prediction:
    """What a model says about one image, in its original pixels.

    Results are given by task name, or as one mapping `results`; the usual ones also bare:
    `road` as (H, W) probabilities, `semantic` as a `SemanticLabel` with `semantic_score`.
    """

    key: str
    size: tuple[int, int]  # (height, width)
    results: Mapping[str, Result]  # by task; boxes have scores

    def __init__(
        self,
        key: str,
        size: tuple[int, int],
        *,
        results: Mapping[str, Result] | None = None,
        semantic_score: NDArray[np.float32] | None = None,
        **named: Result | SemanticLabel | NDArray[np.float32] | None,
    ) -> None:
        given = {
            task: ClassesResult(value, semantic_score)
            if isinstance(value, SemanticLabel)
            else MaskResult(value)
            if isinstance(value, np.ndarray)
            else value
            for task, value in named.items()
        }
        _fill(self, key=key, size=size, results=by_task(results, given))

    @property
    def road(self) -> NDArray[np.float32] | None:
        """(H, W) probability of road."""
        result = _of(self.results, "road", MaskResult)
        return None if result is None else result.probability

    @property
    def boxes(self) -> Boxes | None:
        """The boxes, with scores."""
        return _of(self.results, "boxes", Boxes)

    @property
    def semantic(self) -> SemanticLabel | None:
        """The class of every pixel."""
        result = _of(self.results, "semantic", ClassesResult)
        return None if result is None else result.label

    @property
    def semantic_score(self) -> NDArray[np.float32] | None:
        """(H, W) probability of the chosen class."""
        result = _of(self.results, "semantic", ClassesResult)
        return None if result is None else result.score

    def probabilities(self, task: str) -> NDArray[np.float32] | None:
        """(H, W) probability of a mask, or of the chosen class; (N,) scores of boxes.

        Raises:
            KeyError: the task was not predicted.
            TypeError: numbers (depth, ...) have no probability.
        """
        if task not in self.results:
            raise KeyError(f"no task {task}; there are: {', '.join(self.results) or 'none'}")
        result = self.results[task]
        if isinstance(result, ValuesResult):
            raise TypeError(f"{task} has values in {result.unit or 'no unit'}, no probabilities")
        if isinstance(result, MaskResult):
            return result.probability
        return result.score.astype(np.float32) if isinstance(result, Boxes) else result.score


# ---------------------------------------------------------------------------- helpers

V = TypeVar("V")


def by_task(mapping: Mapping[str, V] | None, named: Mapping[str, V | None]) -> dict[str, V]:
    """One mapping of what was given as a mapping and by name; a name wins, None takes away."""
    merged: dict[str, V | None] = {**(mapping or {}), **named}
    return {task: value for task, value in merged.items() if value is not None}


def _of(values: Mapping[str, Any], task: str, kind: type[V]) -> V | None:
    """The value of a task, None without one."""
    value = values.get(task)
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{task} is a {type(value).__name__}, no {kind.__name__}")
    return value


def _fill(frozen: object, **fields: object) -> None:
    for name, value in fields.items():
        object.__setattr__(frozen, name, value)
