"""Writing predictions down: KITTI road maps, KITTI object results, label images, one JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perception.files import write_image, write_json
from perception.formats.kitti_object import write_results
from perception.formats.values import write_array, write_values
from perception.structures import Boxes, ClassesResult, MaskResult, Prediction, ValuesResult
from perception.tasks import Kind


def write_prediction(prediction: Prediction, out: Path) -> dict[str, int]:
    """Writes one prediction below `out`, in the formats that `perception score` reads.

    A folder per task: masks as 8-bit confidence, boxes as KITTI results, classes as label ids of
    their scheme, numbers as 16-bit PNG of 1/256 steps and as `.npy`. `json/KEY.json` has boxes,
    shares of every mask and class, and ranges of numbers.

    Returns:
        By task, how many numbers did not fit into its PNG (`clipped` in the JSON).
    """
    content, clipped = summary(prediction), {}
    for task, result in prediction.results.items():
        count = _WRITE[result.kind](out / task / prediction.key, result)
        if count is not None:
            clipped[task] = content[task]["clipped"] = count
    write_json(_file(out / "json" / prediction.key, ".json"), content)
    return clipped


def summary(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values: boxes whole, dense maps as shares of the image."""
    content: dict[str, Any] = {
        "key": prediction.key,
        "height": prediction.size[0],
        "width": prediction.size[1],
    }
    for task, result in prediction.results.items():
        name, value = _SUMMARY[result.kind](task, result)
        content[name] = value
    return content


def _file(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _write_mask(path: Path, result: MaskResult) -> None:
    confidence = np.rint(255 * np.clip(result.probability, 0, 1)).astype(np.uint8)
    write_image(_file(path, ".png"), confidence)


def _write_values(path: Path, result: ValuesResult) -> int:
    write_array(_file(path, ".npy"), result.values)
    return write_values(_file(path, ".png"), result.values)


def _class_shares(task: str, result: ClassesResult) -> tuple[str, dict[str, float]]:
    scheme, ids = result.label.scheme, result.label.train_ids
    counts = np.bincount(ids.ravel(), minlength=len(scheme.names))
    shares = counts[: len(scheme.names)] / ids.size
    return f"{task}_share", dict(zip(scheme.names, shares.tolist(), strict=True))


def _range(task: str, result: ValuesResult) -> tuple[str, dict[str, Any]]:
    known = result.values[np.isfinite(result.values)]
    points = np.percentile(known, (0, 50, 100)).tolist() if known.size else [None] * 3
    names = ("least", "median", "greatest")
    return task, {**dict(zip(names, points, strict=True)), "unit": result.unit}


def _rows(task: str, boxes: Boxes) -> tuple[str, list[dict[str, Any]]]:
    return task, [
        {"name": str(name), "score": float(score), "xyxy": xyxy.tolist()}
        for name, score, xyxy in zip(boxes.names, boxes.score, boxes.xyxy, strict=True)
    ]


_WRITE: dict[Kind, Callable[[Path, Any], int | None]] = {
    Kind.MASK: _write_mask,
    Kind.CLASSES: lambda path, result: write_image(_file(path, ".png"), result.label.ids),
    Kind.VALUES: _write_values,
    Kind.BOXES: lambda path, boxes: write_results(_file(path, ".txt"), boxes),
}
_SUMMARY: dict[Kind, Callable[[str, Any], tuple[str, Any]]] = {
    Kind.MASK: lambda task, result: (f"{task}_share", float((result.probability >= 0.5).mean())),
    Kind.CLASSES: _class_shares,
    Kind.VALUES: _range,
    Kind.BOXES: _rows,
}
