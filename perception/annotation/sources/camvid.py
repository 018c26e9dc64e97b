"""CamVid label images as one mask per class: the SegNet version (ids) or the original (colours).

CamVid knows no instances: masks of classes that have them are crowds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.annotation.classes import city_scheme, default_table
from perception.annotation.images import (
    benchmark_image,
    decode_image,
    inside_of,
    read_file,
    refuse_outside,
)
from perception.annotation.interfaces import Contents, Item, Sample, Settings, Source
from perception.annotation.pairing import Pairing, pair
from perception.annotation.walk import walk
from perception.errors import PerceptionError, UsageError
from perception.files import read_raster
from perception.files.finding import IMAGE_SUFFIXES
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


def find(src: Path, settings: Settings) -> Contents:
    """`<part>annot/*.png` beside `<part>/`, or `*_L.png` anywhere below or beside the images."""
    root = src if src.is_dir() else src.parent
    below = walk(root, allow_outside=settings.allow_outside)
    chosen = set(below.files if src.is_dir() else [src])
    items = []
    originals: dict[Path, tuple[str, Path]] = {}
    pictures = []
    for path in below.having(IMAGE_SUFFIXES):
        if path.suffix.lower() == ".png" and path.parent.name.endswith("annot"):
            if path in chosen:
                folder = path.parent.with_name(path.parent.name.removesuffix("annot"))
                items.append(_item(path, path.stem, root, folder))
        elif path.suffix.lower() == ".png" and path.stem.endswith("_L"):
            if path in chosen:
                originals[path] = (path.stem.removesuffix("_L"), path)
        else:
            pictures.append(path)
    for path, paired in pair(originals, pictures, root).items():
        items.append(_item(path, path.stem.removesuffix("_L"), root, paired))
    if not items:
        raise UsageError(
            src,
            "no *annot/*.png and no *_L.png",
            "CamVid label images",
            "Give the folder with train/ and trainannot/, or with the *_L.png.",
        )
    return Contents(sorted(items, key=lambda item: item.file), below.notes, below.hidden)


def _item(path: Path, stem: str, root: Path, picture: Path | Pairing) -> Item:
    return Item(path.relative_to(root).as_posix(), stem, path, root, picture)


def read(item: Item, settings: Settings) -> Sample:
    """The masks of one label image, with its image."""
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    refuse_outside(inside, item.path)
    if isinstance(item.more, Pairing):
        return _read_original(item, item.more, inside)
    image, problems = benchmark_image(item.more, item.stem, inside)
    semantic = read_semantic(item.path, load_scheme("camvid"), image.size)
    names = {c.id: SEGNET.get(c.name, c.name) for c in semantic.scheme.classes}
    shapes = tuple(
        _mask(names.get(value, "unlabeled"), semantic.ids == value)
        for value in np.unique(semantic.ids).tolist()
    )
    return Sample(Frame(item.stem, image, semantic=semantic, shapes=shapes), tuple(problems))


def _read_original(item: Item, paired: Pairing, inside: Callable[[Path], bool]) -> Sample:
    said = [] if paired.problem is None else [paired.problem]
    if paired.picture is None:
        return Sample(None, tuple(said))
    refuse_outside(inside, paired.picture)
    image, problems = decode_image(read_file(paired.picture), suffix=paired.picture.suffix)
    shapes = _from_colours(item.path, image.size)
    return Sample(Frame(item.stem, image, shapes=shapes), (*said, *problems))


def _from_colours(path: Path, size: tuple[int, int]) -> tuple[Shape, ...]:
    pixels = read_raster(path)
    if pixels.ndim != 3 or pixels.shape[:2] != size or pixels.dtype != np.uint8:
        raise PerceptionError(
            path,
            f"{pixels.shape} {pixels.dtype}",
            f"RGB of {size[1]}x{size[0]}",
            "Use the label image of this frame.",
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
