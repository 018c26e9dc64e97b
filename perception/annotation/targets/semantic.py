"""Frames as a data set of one's own classes: images, class-id PNGs and the dataset.yaml for them.

The layout is the one of docs/add_a_dataset.md: `images/<name>`, `labels/<name>.png`. Pixels that no
shape covers are the class `background` where the scheme has one, else ignored (255).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.annotation.classes import normalise
from perception.annotation.images import EncodedImage, encode_png
from perception.annotation.interfaces import Settings, Target, Written
from perception.annotation.raster import paint
from perception.annotation.scene import Drawn, Scene
from perception.labels import IGNORE_INDEX, LabelClass, LabelScheme
from perception.structures import Frame


def paint_ids(
    scene: Scene, scheme: LabelScheme, unlabelled: str | None = None
) -> NDArray[np.uint8]:
    """(H, W) ids of `scheme`, 255 where ignored.

    unlabelled: the class of pixels that no shape covers; None: `background` or ignored.
    """
    rest = _unlabelled_id(scheme, unlabelled)
    drawn = [item for item in scene.drawn if _value(item, scheme, rest) >= 0]
    values = [rest, *(_value(item, scheme, rest) for item in drawn)]
    canvas = paint([item.shape for item in drawn], scene.size)
    return np.take(np.array(values, np.uint8), canvas)


def _unlabelled_id(scheme: LabelScheme, name: str | None) -> int:
    by_text = {normalise(row.name): row.id for row in scheme.classes}
    return by_text.get(normalise(name or "background"), IGNORE_INDEX)


def _value(item: Drawn, scheme: LabelScheme, rest: int) -> int:
    """The id of a shape's pixels; below 0: a class that label images never hold."""
    name = item.meaning.name
    if not item.ignore and name in scheme.by_name:
        return scheme.by_name[name].id
    return rest if not item.ignore and name == "background" else IGNORE_INDEX


def _write(frame: Frame, scene: Scene, name: str, _: str, settings: Settings) -> Written:
    assert isinstance(frame.image, EncodedImage)
    assert settings.scheme is not None
    picture, suffix = frame.image.unchanged()
    ids = paint_ids(scene, settings.scheme, settings.unlabelled)
    return Written({f"images/{name}{suffix}": picture, f"labels/{name}.png": encode_png(ids)})


def _finish(parts: Sequence[tuple[str, Any]], settings: Settings) -> Mapping[str, bytes]:
    """The dataset.yaml."""
    assert settings.scheme is not None
    scheme = settings.scheme
    splits = ["  train: {}", "  all: {}"]
    if settings.val_share is not None:
        splits = [f"  {part}: {{list: splits/{part}.txt}}" for part in ("train", "val")]
        splits.append("  all: {}")
    road = [row.name for row in scheme.trained if normalise(row.name) == "road"]
    lines = [
        "# Made by `perception convert --to semantic`; see docs/add_a_dataset.md.",
        f"name: {json.dumps(scheme.name, ensure_ascii=False)}",
        f'title: "Own labels ({len(parts)} frames, {len(scheme.trained)} classes)"',
        "layout:",
        '  image: "images/{name}"',
        '  semantic: "labels/{name}.png"',
        'key: "{name}"',
        "splits:",
        *splits,
        *([f"road: {json.dumps(road)}"] if road else []),
        "labels:",
        *(f"  - {_row(row)}" for row in scheme.classes),
    ]
    return {"dataset.yaml": "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")}


def _row(row: LabelClass) -> str:
    fields: dict[str, Any] = {"name": row.name, "id": row.id, "train_id": row.train_id}
    fields["color"] = list(row.color)
    if row.category:
        fields |= {"category": row.category, "category_id": row.category_id}
    if row.has_instances:
        fields["has_instances"] = True
    if row.ignore:
        fields["ignore"] = True
    values = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "{" + ", ".join(values) + "}"


TARGET = Target(
    folders=("images", "labels", "splits", "dataset.yaml"),
    kept=lambda stem: stem,
    numbered=lambda number, _: f"{number:06d}",
    write=_write,
    rasters=True,
    finish=_finish,
    options=frozenset({"classes", "scheme", "unlabelled"}),
    lists=True,
)
