"""Labels and predictions drawn into their image: road, boxes with names, semantic colours.

Pure functions from (H, W, 3) uint8 RGB to a new picture of the same size. Pictures narrower than
a page are best enlarged first (`enlarge`), so that lines and names stay fine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.labels import IGNORE_INDEX
from perception.structures import (
    Boxes,
    ClassesResult,
    Label,
    MaskLabel,
    MaskResult,
    Prediction,
    RoadLabel,
    SemanticLabel,
    ValuesLabel,
    ValuesResult,
)
from perception.tasks import Kind

RGB = tuple[int, int, int]
Picture = NDArray[np.uint8]  # (H, W, 3)

ROAD: RGB = (46, 204, 113)
UNSURE: RGB = (17, 20, 26)
SEMANTIC_ALPHA = 0.35  # where road and boxes are drawn too
IGNORED: RGB = (196, 201, 208)
BOX_COLORS: Mapping[str, RGB] = {
    "car": (255, 149, 0), "van": (255, 196, 61), "truck": (214, 93, 14), "tram": (150, 111, 214),
    "pedestrian": (255, 64, 129), "person": (255, 64, 129), "person_sitting": (255, 145, 184),
    "cyclist": (0, 207, 232), "rider": (0, 207, 232),
}  # fmt: skip
_OTHER_COLORS: tuple[RGB, ...] = (
    (124, 196, 40), (92, 124, 250), (240, 101, 149), (32, 201, 151), (250, 176, 5)
)  # fmt: skip


def box_color(name: str) -> RGB:
    """The colour of a class, the same on every page; unknown names share a few."""
    known = BOX_COLORS.get(name.lower().replace(" ", "_"))
    return known or _OTHER_COLORS[sum(name.encode()) % len(_OTHER_COLORS)]


def enlarge(image: Picture, factor: int) -> Picture:
    """`factor` times as wide and high; smooth."""
    if factor <= 1:
        return image
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def enlarge_label(label: NDArray[Any], factor: int) -> NDArray[Any]:
    """(H, W) ids or masks, every pixel a square of `factor`."""
    return label.repeat(factor, 0).repeat(factor, 1) if factor > 1 else label


def draw_road(
    image: Picture,
    road: NDArray[Any],
    *,
    valid: NDArray[np.bool_] | None = None,
    color: RGB = ROAD,
    alpha: float = 0.45,
) -> Picture:
    """Tints the road and outlines it; what is not valid is hatched.

    `road`: (H, W) bool, or a probability in [0, 1]: the tint follows it, the outline is at 0.5.
    """
    share = road.astype(np.float32)
    known = np.ones(share.shape, bool) if valid is None else valid
    drawn = _blend(image, color, np.where(known, share, 0) * alpha)
    inside = ((share >= 0.5) & known).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, _lighter(color), _line(image), cv2.LINE_AA)
    return _hatch(drawn, ~known)


def draw_semantic(
    image: Picture, train_ids: NDArray[np.uint8], colors: NDArray[np.uint8], *, alpha: float = 0.62
) -> Picture:
    """Paints every class in its colour, with thin edges between classes; ignored is hatched.

    `train_ids`: (H, W); `colors`: (K, 3) RGB of the classes.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    ignored = train_ids == IGNORE_INDEX
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    base = 0.35 * image + 0.65 * grey[..., None]
    mixed = (1 - alpha) * base + alpha * table[train_ids]
    drawn = np.where(ignored[..., None], base * 0.8, mixed).astype(np.uint8)
    edge = np.zeros(train_ids.shape, bool)
    edge[:, 1:] |= train_ids[:, 1:] != train_ids[:, :-1]
    edge[1:] |= train_ids[1:] != train_ids[:-1]
    drawn = _blend(drawn, (255, 255, 255), edge * np.float32(0.55))
    return _hatch(drawn, ignored)


def draw_boxes(
    image: Picture,
    xyxy: NDArray[np.floating[Any]],
    names: Sequence[str] | NDArray[np.str_],
    *,
    scores: NDArray[np.floating[Any]] | None = None,
    ignore: NDArray[np.bool_] | None = None,
) -> Picture:
    """Boxes with the name (and score) on a chip above; ignored regions are pale and hatched.

    `xyxy`: (N, 4) pixels of `image`. NaN scores are not written.
    """
    skipped = np.zeros(len(xyxy), bool) if ignore is None else ignore
    reach = 2 * max(image.shape[:2])  # OpenCV draws no line to 9999999999
    corners = np.round(np.clip(xyxy, -reach, reach)).astype(int).reshape(-1, 4)
    region = np.zeros(image.shape[:2], bool)
    for x1, y1, x2, y2 in corners[skipped]:
        region[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    drawn = _hatch(image.copy(), region)
    width = _line(image)
    order = sorted(range(len(corners)), key=lambda i: (not skipped[i], corners[i][3]))
    for i in order:
        color = IGNORED if skipped[i] else box_color(str(names[i]))
        (x1, y1), (x2, y2) = corners[i][:2].tolist(), (corners[i][2:] - 1).tolist()
        if not skipped[i]:
            cv2.rectangle(drawn, (x1, y1), (x2, y2), (0, 0, 0), width + 2)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), color, width)
    chips = []
    for i in order:
        if skipped[i]:
            continue
        score = "" if scores is None or np.isnan(scores[i]) else f" {100 * scores[i]:.0f}"
        chips.append((f"{names[i]}{score}", box_color(str(names[i])), *corners[i].tolist()))
    return _chips(drawn, chips)


# ---------------------------------------------------------------------------- helpers


def _line(image: Picture) -> int:
    """Width of a line that suits the size of the picture."""
    result: int = max(1, round(image.shape[1] / 640))
    return result


def _lighter(color: RGB) -> RGB:
    return tuple(min(255, c + 70) for c in color)  # type: ignore[return-value]


def _blend(image: Picture, color: RGB, alpha: NDArray[np.floating[Any]]) -> Picture:
    """`image` with `color` over it; alpha (H, W) in [0, 1]."""
    share = alpha.astype(np.float32)[..., None]
    mixed = image * (1 - share) + np.array(color, np.float32) * share
    return np.ascontiguousarray(mixed.round().astype(np.uint8))


def _hatch(image: Picture, region: NDArray[np.bool_]) -> Picture:
    """Darkens a region and hatches it: neither right nor wrong."""
    if not region.any():
        return image
    rows, columns = np.indices(region.shape, sparse=True)
    period = max(6, image.shape[1] // 80)
    stripe = (rows + columns) % period < max(1, period // 5)
    drawn = _blend(image, UNSURE, region * np.float32(0.35))
    return _blend(drawn, IGNORED, (region & stripe) * np.float32(0.55))


def _chips(image: Picture, chips: Sequence[tuple[str, RGB, int, int, int, int]]) -> Picture:
    """Names on small plates at their boxes; (text, colour, x1, y1, x2, y2) each."""
    from PIL import Image, ImageDraw

    if not chips:
        return image
    font = _font(max(11, round(image.shape[1] / 70)))
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for text, color, x1, y1, _, y2 in chips:
        left, top, right, bottom = pen.textbbox((0, 0), text, font)
        width, height = right - left + 8, bottom - top + 6
        x = min(max(x1, 0), image.shape[1] - width)
        above = y1 - height
        y = above if above >= 0 else min(max(y2, 0), image.shape[0] - height)
        pen.rounded_rectangle((x, y, x + width, y + height), 3, fill=color)
        light = sum(w * c for w, c in zip((0.299, 0.587, 0.114), color, strict=True)) > 140
        pen.text(
            (x + 4 - left, y + 3 - top), text, (16, 20, 26) if light else (255, 255, 255), font
        )
    return np.asarray(picture, np.uint8)


@cache
def _font(size: int) -> Any:
    """Pillow's own scalable font."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def mask_color(task: str) -> RGB:
    """The colour of a mask, the same on every page."""
    return ROAD if task == "road" else _OTHER_COLORS[sum(task.encode()) % len(_OTHER_COLORS)]


def draw_values(image: Picture, values: NDArray[Any], *, alpha: float = 0.7) -> Picture:
    """Numbers per pixel as colours, small ones warm; from the 2nd to the 98th of 100 parts.

    `values`: (H, W), NaN where unknown: hatched.
    """
    known = np.isfinite(values)
    if not known.any():
        return _hatch(image, ~known)
    low, high = np.percentile(values[known], (2, 98))
    share = np.clip((np.where(known, values, low) - low) / max(high - low, 1e-9), 0, 1)
    colors = cv2.applyColorMap((255 * (1 - share)).astype(np.uint8), cv2.COLORMAP_TURBO)
    colors = cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
    mixed = np.where(known[..., None], (1 - alpha) * image + alpha * colors, image)
    return _hatch(np.ascontiguousarray(mixed.round().astype(np.uint8)), ~known)


def draw_prediction(image: Picture, prediction: Prediction, *, score: float = 0.4) -> Picture:
    """Everything that was predicted: classes, numbers, masks, boxes of at least `score`."""
    return _draw_all(image, prediction.results, score)


def draw_labels(image: Picture, labels: Mapping[str, Label]) -> Picture:
    """Labels by task, drawn like predictions; what is not valid is hatched."""
    return _draw_all(image, labels, 0.0)


def _draw_all(image: Picture, values: Mapping[str, Any], score: float) -> Picture:
    drawn = image
    for kind, draw in _DRAW.items():
        for task, value in values.items():
            if value.kind is kind:
                drawn = draw(drawn, task, value, score)
    return drawn


def _draw_classes(
    image: Picture, _: str, value: ClassesResult | SemanticLabel, __: float
) -> Picture:
    label = value.label if isinstance(value, ClassesResult) else value
    return draw_semantic(image, label.train_ids, label.scheme.colors, alpha=SEMANTIC_ALPHA)


def _draw_values(image: Picture, _: str, value: ValuesResult | ValuesLabel, __: float) -> Picture:
    return draw_values(image, value.values)


def _draw_mask(
    image: Picture, task: str, value: MaskResult | MaskLabel | RoadLabel, _: float
) -> Picture:
    color = mask_color(task)
    if isinstance(value, MaskResult):
        return draw_road(image, value.probability, color=color)
    return draw_road(image, value.mask, valid=value.valid, color=color)


def _draw_boxes(image: Picture, _: str, boxes: Boxes, score: float) -> Picture:
    shown = boxes[np.isnan(boxes.score) | (boxes.score >= score)]
    return draw_boxes(image, shown.xyxy, shown.names, scores=shown.score, ignore=shown.ignore)


_DRAW: dict[Kind, Callable[[Picture, str, Any, float], Picture]] = {  # what is below comes first
    Kind.CLASSES: _draw_classes,
    Kind.VALUES: _draw_values,
    Kind.MASK: _draw_mask,
    Kind.BOXES: _draw_boxes,
}


def enlarged(value: Any, factor: int) -> Any:
    """A label or result for an image `factor` times as large."""
    if isinstance(value, Boxes):
        return value.replace(xyxy=value.xyxy * factor)
    if isinstance(value, ClassesResult):
        return ClassesResult(enlarged(value.label, factor))
    grown = {
        f.name: enlarge_label(array, factor)
        for f in fields(value)
        if isinstance(array := getattr(value, f.name), np.ndarray)
    }
    return replace(value, **grown)
