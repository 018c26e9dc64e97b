"""Cityscapes ground truth as shapes: its polygons, or one mask per class and instance.

Redrawing the polygons of the official downloads does not give their label images exactly; a target
that wants pixels therefore gets the label images where they are there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.annotation.classes import city_scheme
from perception.annotation.images import EncodedImage, benchmark_image, inside_of, refuse_outside
from perception.annotation.interfaces import Contents, Item, Sample, Settings, Source
from perception.annotation.walk import walk
from perception.errors import UsageError
from perception.formats.cityscapes import read_instances
from perception.formats.label_image import read_semantic
from perception.formats.labelme import MAX_BYTES, mask_shape, parse_json, read_points
from perception.formats.problems import Problem, RefusedError
from perception.structures import Frame, Shape

_FILE = re.compile(r"(.+)_(gtFine|gtCoarse)_(?:polygons\.json|labelIds\.png)")


@dataclass(frozen=True)
class _Files:
    """Paths of one frame; at least one of `polygons` and `ids` is there."""

    polygons: Path | None
    ids: Path | None
    instances: Path | None
    images: Path  # folder


def find(src: Path, settings: Settings) -> Contents:
    """Every frame with a polygons file or a label image below `src`, by path."""
    folder = src if src.is_dir() else src.parent
    below = walk(src, allow_outside=settings.allow_outside)
    found: dict[tuple[Path, str, str], Path] = {}
    for path in below.files:
        if match := _FILE.fullmatch(path.name):
            found.setdefault((path.parent, match[1], match[2]), path)
    if not found:
        raise UsageError(
            src,
            "no *_gtFine_polygons.json or *_gtFine_labelIds.png",
            "gtFine/ and leftImg8bit/ of Cityscapes",
            "Give the folder that holds both.",
        )
    root = src if src.is_dir() else src.parents[min(3, len(src.parents) - 1)]
    items = [
        _item(parent, base, kind, path.relative_to(folder).as_posix(), root)
        for (parent, base, kind), path in found.items()
    ]
    return Contents(items, below.notes, below.hidden)


def _item(parent: Path, base: str, kind: str, file: str, root: Path) -> Item:
    def existing(what: str) -> Path | None:
        path = parent / f"{base}_{kind}_{what}"
        return path if path.is_file() else None

    parts = ["leftImg8bit" if part == kind else part for part in parent.parts]
    files = _Files(
        existing("polygons.json"),
        existing("labelIds.png"),
        existing("instanceIds.png"),
        Path(*parts),
    )
    path = files.polygons or files.ids or parent / file
    return Item(file, base, path, root, files)


def read(item: Item, settings: Settings) -> Sample:
    """The shapes of one frame."""
    files: _Files = item.more
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    refuse_outside(inside, files.polygons, files.ids, files.instances)
    stem = f"{item.stem}_leftImg8bit"
    if files.polygons is None or (settings.rasters and files.ids is not None):
        image, problems = benchmark_image(files.images, stem, inside)
        return Sample(_from_images(item, files, image), tuple(problems))
    content = _polygons_content(files.polygons)
    declared = (content.get("imgHeight"), content.get("imgWidth"))
    image, problems = benchmark_image(files.images, stem, inside, declared)
    shapes, found = _polygon_shapes(content["objects"])
    problems = problems + found
    if any(problem.error for problem in found):
        return Sample(None, tuple(problems))
    return Sample(Frame(item.stem, image, shapes=tuple(shapes)), tuple(problems))


def _polygons_content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = parse_json(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise RefusedError("json_invalid", f"cannot be read: {error.strerror}") from None
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise RefusedError("not_cityscapes", "expected an object with a list `objects`")
    return content


def _polygon_shapes(objects: list[Any]) -> tuple[list[Shape], list[Problem]]:
    """One polygon each; the parts of one instance get one group id; deleted ones are left out."""
    groups: dict[tuple[str, int], list[int]] = {}
    shapes: list[Shape] = []
    problems = []
    for index, record in enumerate(objects):
        if isinstance(record, dict) and record.get("deleted"):
            continue
        try:
            shape = _polygon_shape(record)
        except RefusedError as error:
            problems.append(Problem(error.problem.reason, error.problem.detail, index, error=True))
            continue
        instance = record.get("instance")
        if isinstance(instance, int) and not isinstance(instance, bool):
            groups.setdefault((shape.label, instance), []).append(len(shapes))
        shapes.append(shape)
    number = 0
    for members in groups.values():
        if len(members) > 1:
            for k in members:
                shapes[k] = Shape(
                    shapes[k].label,
                    "polygon",
                    shapes[k].points,
                    group_id=number,
                    flags=shapes[k].flags,
                )
            number += 1
    return shapes, problems


def _polygon_shape(record: object) -> Shape:
    if not isinstance(record, dict) or not isinstance(record.get("label"), str):
        raise RefusedError("bad_shape", "expected an object with a label")
    label, crowd = record["label"], False
    if label not in city_scheme().by_name and label.endswith("group"):
        label, crowd = label[: -len("group")], True
    points = read_points(record.get("polygon"))
    return Shape(label, "polygon", points, flags={"crowd": True} if crowd else {})


def _from_images(item: Item, files: _Files, image: EncodedImage) -> Frame:
    """One mask for every class, or instance where instanceIds tells them apart."""
    assert files.ids is not None
    scheme = city_scheme()
    semantic = read_semantic(files.ids, scheme, image.size)
    values = semantic.ids.astype(np.int32)
    if files.instances is not None:
        instances = read_instances(files.instances, image.size)
        values = np.where(instances >= 1000, instances, values)
    by_id = {c.id: c for c in scheme.classes}
    shapes = []
    for value in np.unique(values).tolist():
        label = by_id.get(value // 1000 if value >= 1000 else value)
        if label is None:  # 255 in a label image, or an instance of no class
            label = by_id[0]
        crowd = label.has_instances and value < 1000  # no instance told apart
        shape = mask_shape(label.name, values == value, flags={"crowd": True} if crowd else {})
        assert shape is not None
        shapes.append(shape)
    return Frame(item.stem, image, semantic=semantic, instances=values, shapes=tuple(shapes))


SOURCE = Source(find, read)
