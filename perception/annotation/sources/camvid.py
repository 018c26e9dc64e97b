"""CamVid label images as one mask per class: the SegNet version (ids) or the original (colours).

CamVid knows no instances: masks of classes that have them are crowds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.annotation.classes import city_scheme, default_table
from perception.annotation.images import benchmark_image, inside_of, refuse_outside
from perception.annotation.interfaces import Item, Sample, Settings, Source
from perception.errors import PerceptionError, UsageError
from perception.files import read_raster
from perception.formats.label_image import read_semantic
from perception.formats.labelme import mask_shape
from perception.labels import load_scheme
from perception.structures import Frame, Shape

# SegNet's 11 classes → label; names that the label table knows stand for themselves
SEGNET = {"pavement": "sidewalk", "bicyclist": "cyclist", "void": "unlabeled"}
# The 32 original classes: RGB → label. Source: Brostow et al. (2009), label_colors.txt.
ORIGINAL: dict[tuple[int, int, int], str] = {
    (64, 128, 64): "unlabeled", (192, 0, 128): "building", (0, 128, 192): "cyclist",
    (0, 128, 64): "bridge", (128, 0, 0): "building", (64, 0, 128): "car",
    (64, 0, 192): "dynamic", (192, 128, 64): "person", (192, 192, 128): "pole",
    (64, 64, 128): "fence", (128, 0, 192): "lane marking", (192, 0, 64): "lane marking",
    (128, 128, 64): "static", (192, 0, 192): "motorcycle", (128, 64, 64): "dynamic",
    (64, 192, 128): "static", (64, 64, 0): "person", (128, 64, 128): "road",
    (128, 128, 192): "ground", (0, 0, 192): "sidewalk", (192, 128, 128): "traffic sign",
    (128, 128, 128): "sky", (64, 128, 192): "car", (0, 0, 64): "static",
    (0, 64, 64): "traffic light", (192, 64, 128): "train", (128, 128, 0): "vegetation",
    (192, 128, 192): "truck", (64, 0, 64): "tunnel", (192, 192, 0): "vegetation",
    (0, 0, 0): "unlabeled", (64, 192, 0): "wall",
}  # fmt: skip


@dataclass(frozen=True)
class _Files:
    """Where the image of a label stands."""

    folder: Path
    stem: str
    original: bool


def find(src: Path, _: Settings) -> list[Item]:
    """`<part>annot/*.png` beside `<part>/`, or `*_L.png` anywhere with images beside or above."""
    labels = [p for p in sorted(src.rglob("*.png")) if p.parent.name.endswith("annot")]
    items = [
        Item(
            p.relative_to(src).as_posix(),
            p.stem,
            p,
            src,
            _Files(p.parent.with_name(p.parent.name.removesuffix("annot")), p.stem, False),
        )
        for p in labels
    ]
    pictures = {p.stem: p.parent for p in sorted(src.rglob("*.png"))}
    for path in sorted(src.rglob("*_L.png")):
        stem = path.stem.removesuffix("_L")
        files = _Files(pictures.get(stem, path.parent), stem, True)
        items.append(Item(path.relative_to(src).as_posix(), stem, path, src, files))
    if not items:
        raise UsageError(
            src,
            "no *annot/*.png and no *_L.png",
            "CamVid label images",
            "Give the folder with train/ and trainannot/, or with the *_L.png.",
        )
    return items


def read(item: Item, settings: Settings) -> Sample:
    """The masks of one label image, with its image."""
    files: _Files = item.more
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    refuse_outside(inside, item.path)
    image, problems = benchmark_image(files.folder, files.stem, inside)
    if files.original:
        shapes = _from_colours(item.path, image.size)
        return Sample(Frame(item.stem, image, shapes=shapes), tuple(problems))
    semantic = read_semantic(item.path, load_scheme("camvid"), image.size)
    names = {c.id: SEGNET.get(c.name, c.name) for c in semantic.scheme.classes}
    shapes = tuple(
        _mask(names.get(value, "unlabeled"), semantic.ids == value)
        for value in np.unique(semantic.ids).tolist()
    )
    return Sample(Frame(item.stem, image, semantic=semantic, shapes=shapes), tuple(problems))


def _from_colours(path: Path, size: tuple[int, int]) -> tuple[Shape, ...]:
    pixels = read_raster(path)
    if pixels.ndim != 3 or pixels.shape[:2] != size or pixels.dtype != np.uint8:
        raise PerceptionError(
            path,
            f"{pixels.shape} {pixels.dtype}",
            f"RGB of {size[1]}x{size[0]}",
            "Take the label image of this very frame.",
        )
    packed = pixels[..., :3].astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    labels: dict[str, NDArray[np.bool_]] = {}
    for value in np.unique(packed).tolist():
        colour = (value >> 16, value >> 8 & 255, value & 255)
        if colour not in ORIGINAL:
            raise PerceptionError(
                path,
                f"colour {colour}",
                "the 32 colours of CamVid",
                "Was it saved as JPEG, or resized with interpolation?",
            )
        mask = packed == value
        name = ORIGINAL[colour]
        labels[name] = labels[name] | mask if name in labels else mask
    return tuple(_mask(name, mask) for name, mask in labels.items())


def _mask(label: str, mask: NDArray[np.bool_]) -> Shape:
    resolved = default_table().resolve(label)
    assert resolved is not None
    has_instances = city_scheme().by_name[resolved.meaning.cityscapes].has_instances
    flags = {"crowd": True} if has_instances else {}
    shape = mask_shape(resolved.meaning.name, mask, flags=flags)
    assert shape is not None
    return shape


SOURCE = Source(find, read)
