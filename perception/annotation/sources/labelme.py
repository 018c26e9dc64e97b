"""labelme files below a folder, or one of them, as frames of drawn shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from perception.annotation.classes import LabelTable
from perception.annotation.images import EncodedImage, find_image, inside_of, refuse_outside
from perception.annotation.interfaces import Contents, Item, Sample, Settings, Source
from perception.annotation.scene import unknown_label
from perception.annotation.walk import walk
from perception.errors import UsageError
from perception.formats import labelme
from perception.formats.problems import Problem, RefusedError
from perception.structures import Frame, Shape

MASK_FACTOR = 4  # a mask may have this many times the pixels of its image
_MASK_PIXELS = 100_000_000  # where the image is not known


def find(src: Path, settings: Settings) -> Contents:
    """The annotations below `src`, in the order of their relative paths; not opened."""
    if not src.is_dir():
        return Contents([Item(src.name, _stem(src.name), src, src.parent)])
    below = walk(src, allow_outside=settings.allow_outside)
    report = src / "report.json"
    items = [
        Item(path.relative_to(src).as_posix(), _stem(path.name), path, src)
        for path in below.having((".json",))
        if path != report or not _is_our_report(report)
    ]
    if not items and not any(problem.error for _, problem in below.notes):
        raise UsageError(
            src, "no *.json", "labelme files and their images", "Give the folder that holds both."
        )
    return Contents(items, below.notes, below.hidden)


def read(item: Item, settings: Settings) -> Sample:
    """One annotation with its image; every shape is examined, so that all errors are named."""
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    try:
        refuse_outside(inside, item.path)
        content = labelme.read(item.path).content
    except RefusedError as error:
        return Sample(None, (error.problem,))
    problems: list[Problem] = []
    image = None
    try:
        image, found = find_image(content, item.path, inside)
        problems += found
    except RefusedError as error:
        problems.append(error.problem)
    pixels = MASK_FACTOR * image.size[0] * image.size[1] if image else _MASK_PIXELS
    shapes, found = read_shapes(content["shapes"], settings.table, settings.unknown, pixels)
    problems += found
    if image is None or any(problem.error for problem in problems):
        return Sample(None, tuple(problems))
    return Sample(_frame(item, content, image, shapes), tuple(problems))


def read_shapes(
    raw: list[Any], table: LabelTable, unknown: str, max_mask_pixels: int
) -> tuple[list[Shape], list[Problem]]:
    """Shapes with their masks, and at most one error for each that has none.

    The shapes stand at their index in the file only when no problem is an error.
    """
    shapes: list[Shape] = []
    problems: list[Problem] = []
    for index, one in enumerate(raw):
        try:
            shape, found = labelme.read_shape(one)
            problems += [replace(problem, shape=index) for problem in found]
            if not labelme.degenerate(shape):
                known = table.resolve(shape.label) is not None
                if not known and unknown == "error":
                    raise RefusedError("unknown_label", unknown_label(shape.label, table))
                if known and shape.type == "mask":
                    shape, found = _with_mask(shape, one, max_mask_pixels)
                    problems += [replace(problem, shape=index) for problem in found]
            shapes.append(shape)
        except RefusedError as error:
            problems.append(replace(error.problem, shape=index))
    return shapes, problems


def _with_mask(shape: Shape, raw: dict[str, Any], max_pixels: int) -> tuple[Shape, list[Problem]]:
    mask = labelme.read_mask(raw, max_pixels)
    (x1, y1), (x2, y2) = shape.points.tolist()
    boxed = (round(y2) - round(y1) + 1, round(x2) - round(x1) + 1)
    problems = []
    if boxed != mask.shape:
        problems.append(
            Problem(
                "mask_size",
                f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels, its points span "
                f"{boxed[1]}x{boxed[0]}; the mask counts",
            )
        )
    return replace(shape, mask=mask), problems


def _frame(item: Item, content: dict[str, Any], image: EncodedImage, shapes: list[Shape]) -> Frame:
    flags = content.get("flags")
    flags = flags if isinstance(flags, dict) else {}
    return Frame(
        item.stem,
        image,
        shapes=tuple(shapes),
        flags={name: value for name, value in flags.items() if isinstance(value, bool)},
        extra={"labelme": content},
    )


def _stem(name: str) -> str:
    return name[:-5] if name.lower().endswith(".json") else name


def _is_our_report(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            content = labelme.parse_json(file.read(labelme.MAX_BYTES + 1))
    except (OSError, RefusedError):
        return False
    return isinstance(content, dict) and {"target", "converted"} <= set(content)


SOURCE = Source(find, read)
