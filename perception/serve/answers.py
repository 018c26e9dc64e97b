"""Bytes of an image file to pixels, and a prediction to what the page and programs read."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.report.overlay import box_color
from perception.structures import Boxes, ClassesResult, MaskResult, Prediction, ValuesResult
from perception.tasks import Kind


def decoded(body: bytes, megapixels: float) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Raises:
        PerceptionError: the body is no image, is damaged, or has too many pixels.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(body)) as image:
            width, height = image.size
            if width * height > megapixels * 1e6:
                raise PerceptionError(
                    "body", f"the image has {width} x {height} pixels, above {megapixels:g} million"
                )
            image.load()
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except PerceptionError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise PerceptionError("body", "the body is no whole image that can be read") from error


def encoded(picture: NDArray[np.uint8]) -> bytes:
    """(H, W) or RGB (H, W, 3) pixels as PNG."""
    if picture.ndim == 3:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)
    done, buffer = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return buffer.tobytes()


def answer_values(prediction: Prediction, score: float) -> dict[str, Any]:
    """One entry per task: masks as 8-bit PNGs of probabilities, classes as PNGs of train ids.

    `score`: the lowest score of a box that is listed.
    """
    height, width = prediction.size
    results = {
        task: {"kind": str(result.kind), **_ANSWERS[result.kind](result, score)}
        for task, result in prediction.results.items()
    }
    return {"height": height, "width": width, "results": results}


def _mask(result: MaskResult, _: float) -> dict[str, Any]:
    return {"png": _text(np.rint(255 * np.clip(result.probability, 0, 1)).astype(np.uint8))}


def _classes(result: ClassesResult, _: float) -> dict[str, Any]:
    scheme = result.label.scheme
    return {
        "png": _text(result.label.train_ids),
        "names": list(scheme.names),
        "colors": scheme.colors.tolist(),
    }


def _values(result: ValuesResult, _: float) -> dict[str, Any]:
    """Shades from the least to the greatest value."""
    known = np.isfinite(result.values)
    if not known.any():
        png = _text(np.zeros(known.shape, np.uint8))
        return {"png": png, "least": None, "greatest": None, "unit": result.unit}
    low, high = float(result.values[known].min()), float(result.values[known].max())
    shades = 255 * (np.where(known, result.values, low) - low) / max(high - low, 1e-9)
    png = _text(np.rint(shades).astype(np.uint8))
    return {"png": png, "least": low, "greatest": high, "unit": result.unit}


def _text(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(encoded(pixels)).decode("ascii")


def _boxes(boxes: Boxes, score: float) -> dict[str, Any]:
    rows = [
        {
            "name": str(name),
            "score": round(float(own), 6),
            "xyxy": [round(float(each), 3) for each in xyxy],
            "color": list(box_color(str(name))),
        }
        for name, own, xyxy in zip(boxes.names, boxes.score, boxes.xyxy, strict=True)
        if own >= score
    ]
    return {"boxes": rows}


_ANSWERS: dict[Kind, Callable[[Any, float], dict[str, Any]]] = {
    Kind.MASK: _mask,
    Kind.CLASSES: _classes,
    Kind.VALUES: _values,
    Kind.BOXES: _boxes,
}
