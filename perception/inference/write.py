"""Writing predictions down: KITTI road maps, KITTI object results, label images, one JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from perception.files import write_image, write_json
from perception.formats.kitti_object import write_results
from perception.structures import Boxes, Prediction


def write_prediction(prediction: Prediction, out: Path) -> None:
    """Writes one prediction below `out`, in the formats that `perception score` reads.

    `road/KEY.png` 8-bit confidence, `boxes/KEY.txt` KITTI results, `semantic/KEY.png` label ids of
    the scheme, `json/KEY.json` boxes and shares of every class.
    """
    key = prediction.key
    if prediction.road is not None:
        confidence = np.rint(255 * np.clip(prediction.road, 0, 1)).astype(np.uint8)
        write_image(out / "road" / f"{key}.png", confidence)
    if prediction.boxes is not None:
        write_results(out / "boxes" / f"{key}.txt", prediction.boxes)
    if prediction.semantic is not None:
        write_image(out / "semantic" / f"{key}.png", prediction.semantic.ids)
    write_json(out / "json" / f"{key}.json", summary(prediction))


def summary(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values: boxes whole, dense maps as shares of the image."""
    content: dict[str, Any] = {
        "key": prediction.key,
        "height": prediction.size[0],
        "width": prediction.size[1],
    }
    if prediction.road is not None:
        content["road_share"] = float((prediction.road >= 0.5).mean())
    if prediction.boxes is not None:
        content["boxes"] = _rows(prediction.boxes)
    if prediction.semantic is not None:
        scheme, ids = prediction.semantic.scheme, prediction.semantic.train_ids
        counts = np.bincount(ids.ravel(), minlength=len(scheme.names))
        shares = counts[: len(scheme.names)] / ids.size
        content["semantic_share"] = dict(zip(scheme.names, shares.tolist(), strict=True))
    return content


def _rows(boxes: Boxes) -> list[dict[str, Any]]:
    return [
        {"name": str(name), "score": float(score), "xyxy": xyxy.tolist()}
        for name, score, xyxy in zip(boxes.names, boxes.score, boxes.xyxy, strict=True)
    ]
