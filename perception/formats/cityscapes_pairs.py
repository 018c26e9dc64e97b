"""Image and colour label side by side in one JPEG, as pix2pix's copy of Cityscapes has them.

The left half is the image, the right half its label in the colours of the label table, both
squeezed to a square. JPEG moves colours: a pixel takes the class of the nearest colour, and is
ignored where none is near. Both are read in the natural shape again (`extra.size` of the
dataset.yaml).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import read_image
from perception.formats import citypersons, kitti_object
from perception.formats.frames import FrameFiles
from perception.formats.label_image import road_from_classes
from perception.formats.manifest import Manifest
from perception.labels import IGNORE_INDEX, LabelClass, LabelScheme
from perception.structures import Boxes, Frame, Image, SemanticLabel


def read(files: FrameFiles, manifest: Manifest) -> Frame:
    """The frame with semantic and road labels, and boxes where the file of CityPersons is there.

    Raises:
        PerceptionError: not a picture of twice its height, or a file of boxes without this frame.
    """
    height, width = manifest.extra["size"]
    left, right = split_pair(files.image)
    image = np.asarray(cv2.resize(left, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    semantic = _semantic(right, manifest, (width, height)) if "semantic" in files.labels else None
    return Frame(
        files.key,
        Image.of(image),
        semantic=semantic,
        road=road_from_classes(semantic, manifest.road) if semantic and manifest.road else None,
        boxes=_boxes(files, (width, height)) if "boxes" in files.labels else None,
    )


def split_pair(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(H, H, 3) RGB image and (H, H, 3) RGB colour label of a picture of H x 2H pixels."""
    picture = read_image(path)
    height, width = picture.shape[:2]
    if width != 2 * height:
        raise PerceptionError(
            path, f"{width}x{height} pixels", "image and label side by side, twice as wide as high"
        )
    return picture[:, :height], picture[:, height:]


def decode_colors(
    colors: NDArray[np.uint8], scheme: LabelScheme, *, limit: float, left_out: tuple[str, ...] = ()
) -> NDArray[np.uint8]:
    """The id of the nearest colour of `scheme` at every pixel.

    Args:
        colors: (H, W, 3) RGB.
        scheme: classes with colours; of classes that share one the first takes it.
        limit: squared distance (RGB, 0 to 255) up to which a pixel takes the class; 255 beyond.
        left_out: classes whose colours are not looked for.

    Returns:
        (H, W) uint8 ids.
    """
    ids, palette = _palette(scheme.classes, left_out)
    packed = colors.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found, where = np.unique(packed, return_inverse=True)
    rows = np.stack([found >> 16, (found >> 8) & 255, found & 255], axis=1)
    distance = ((rows[:, None] - palette[None]) ** 2).sum(axis=2)
    nearest = np.where(distance.min(axis=1) <= limit, ids[distance.argmin(axis=1)], IGNORE_INDEX)
    return nearest.astype(np.uint8)[where].reshape(colors.shape[:2])


@lru_cache(maxsize=8)
def _palette(
    classes: tuple[LabelClass, ...], left_out: tuple[str, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(K,) ids and (K, 3) colours that are looked for."""
    rows = [c for c in classes if c.id >= 0 and c.name not in left_out]
    return np.array([c.id for c in rows]), np.array([c.color for c in rows]).reshape(-1, 3)


def _semantic(
    colors: NDArray[np.uint8], manifest: Manifest, size: tuple[int, int]
) -> SemanticLabel:
    """The decoded label in pixels of (width, height) `size`."""
    left_out = tuple(manifest.extra.get("left_out") or ())
    ids = decode_colors(colors, manifest.scheme, limit=manifest.extra["limit"], left_out=left_out)
    resized = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST)
    return SemanticLabel(np.asarray(resized, np.uint8), manifest.scheme)


def _boxes(files: FrameFiles, size: tuple[int, int]) -> Boxes:
    """CityPersons' boxes in pixels of (width, height) `size`; the text of KITTI as it is."""
    path = files.labels["boxes"]
    if path.suffix == ".txt":  # one's own, or a teacher's
        return kitti_object.read_labels(path)
    known = citypersons.read_boxes(path)
    if files.key not in known:
        raise PerceptionError(
            path, f"no frame {files.key}", "the boxes of every frame of this part"
        )
    boxes = known[files.key]
    scale = np.array([size[0] / citypersons.WIDTH, size[1] / citypersons.HEIGHT] * 2)
    return boxes.replace(xyxy=boxes.xyxy * scale)
