"""Wide images in square tiles: small objects are seen larger, at the price of one pass per tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from perception.inference.detectors import suppress
from perception.inference.inputs import pixels_of
from perception.inference.model import Timing
from perception.structures import Boxes, Image, Prediction

EDGE = 2.0  # pixels from the edge of a tile at which a box counts as cut


class Predictor(Protocol):
    """A run of ours or an exported detector."""

    @property
    def timing(self) -> Timing:
        """Of the last prediction."""
        ...

    def predict(
        self,
        image: NDArray[np.uint8] | Path | str | Image,
        *,
        key: str = "",
        tasks: Sequence[str] | None = None,
    ) -> Prediction:
        """What it says about one image."""
        ...


class Tiled:
    """A predictor of boxes that sees the whole image and a row of squares as high as the image.

    Boxes that a tile cuts are left to its neighbour and to the whole image.

    Args:
        inner: predicts each part.
        tiles: squares side by side, evenly spread; 0: the whole image only.
        whole: the whole image as well.
        nms_iou: overlap above which the weaker of two boxes of a class goes, over all parts.
    """

    tasks = ("boxes",)

    def __init__(
        self, inner: Predictor, tiles: int, *, whole: bool = True, nms_iou: float = 0.5
    ) -> None:
        self.inner, self.tiles, self.whole, self.nms_iou = inner, tiles, whole, nms_iou
        self.timing = Timing(0.0, 0.0, 0.0)

    def predict(
        self,
        image: NDArray[np.uint8] | Path | str | Image,
        *,
        key: str = "",
        tasks: Sequence[str] | None = None,  # noqa: ARG002 - boxes only
    ) -> Prediction:
        """The boxes of one image in its own pixels, strongest first."""
        pixels, key = pixels_of(image, key)
        height, width = pixels.shape[:2]
        parts, spent = [], []
        starts = tile_starts(width, height, self.tiles)
        for start in [*([None] if self.whole or not starts else []), *starts]:
            left, right = (0, width) if start is None else (start, start + height)
            found = self.inner.predict(np.ascontiguousarray(pixels[:, left:right]), key=key)
            spent.append(self.inner.timing)
            boxes = found.boxes if found.boxes is not None else Boxes.empty()
            parts.append(moved(boxes, left, right, width))
        self.timing = Timing(
            *(sum(getattr(t, n) for t in spent) for n in ("pre", "network", "post"))
        )
        boxes = suppress(Boxes.concatenate(parts), self.nms_iou)
        return Prediction(key, (height, width), boxes=boxes)


class Renamed:
    """A predictor whose boxes are called by other names; classes without one are left out."""

    tasks = ("boxes",)

    def __init__(self, inner: Predictor, classes: Mapping[str, str]) -> None:
        self.inner, self.classes = inner, dict(classes)

    @property
    def timing(self) -> Timing:
        """Of the last prediction."""
        return self.inner.timing

    def predict(
        self,
        image: NDArray[np.uint8] | Path | str | Image,
        *,
        key: str = "",
        tasks: Sequence[str] | None = None,  # noqa: ARG002 - boxes only
    ) -> Prediction:
        """The boxes of one image in its own pixels."""
        found = self.inner.predict(image, key=key, tasks=("boxes",))
        boxes = found.boxes if found.boxes is not None else Boxes.empty()
        boxes = boxes[np.isin(boxes.names, list(self.classes))]
        names = np.array([self.classes[n] for n in boxes.names.tolist()], np.str_)
        return Prediction(found.key, found.size, boxes=boxes.replace(names=names))


def tile_starts(width: int, height: int, tiles: int) -> list[int]:
    """Left edges of `tiles` squares of `height` pixels from end to end; none in a high image."""
    if tiles < 1 or width <= height:
        return []
    result: list[int] = np.linspace(0, width - height, tiles).round().astype(int).tolist()
    return result


def moved(boxes: Boxes, left: int, right: int, width: int) -> Boxes:
    """Boxes of the part from `left` to `right` in pixels of the image, without those it cuts."""
    cut = (boxes.xyxy[:, 0] <= EDGE) & (left > 0)
    cut |= (boxes.xyxy[:, 2] >= right - left - EDGE) & (right < width)
    boxes = boxes[~cut]
    return boxes.replace(xyxy=boxes.xyxy + np.array([left, 0, left, 0]))
