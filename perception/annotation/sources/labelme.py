"""labelme files below a folder, or one of them, as frames of drawn shapes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perception.annotation.classes import LabelTable
from perception.annotation.images import (
    EncodedImage,
    find_image,
    inside_of,
    locate_image,
    refuse_outside,
)
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


@dataclass(frozen=True)
class Examined:
    """All that can be seen of one annotation, whatever is wrong with it."""

    problems: tuple[Problem, ...]
    content: dict[str, Any] | None = None  # None: the file itself is unusable
    shapes: tuple[Shape | None, ...] = ()  # at their index in the file; None: refused
    image: EncodedImage | None = None  # None: there is none that fits
    picture: Path | None = None  # the file of the image, also where it does not fit

    @property
    def failed(self) -> bool:
        """True: this annotation is not converted."""
        return self.image is None or any(problem.error for problem in self.problems)


def examine(item: Item, settings: Settings) -> Examined:
    """One annotation with its image; every shape is examined, so that all errors are named."""
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    try:
        refuse_outside(inside, item.path)
        document = labelme.read(item.path)
    except RefusedError as error:
        return Examined((error.problem,))
    content = document.content
    problems = [
        Problem("duplicate_key", f"the key {key[:60]!r} twice in one object; the last one counts")
        for key in document.repeated
    ]
    image = picture = None
    try:
        image, found = find_image(content, item.path, inside)
        problems += found
        picture = image.path
    except RefusedError as error:
        problems.append(error.problem)
        with suppress(RefusedError):
            picture, _ = locate_image(content, item.path, inside)
    pixels = MASK_FACTOR * image.size[0] * image.size[1] if image else _MASK_PIXELS
    shapes, found = read_shapes(content["shapes"], settings.table, settings.unknown, pixels)
    return Examined((*problems, *found), content, tuple(shapes), image, picture)


def read(item: Item, settings: Settings) -> Sample:
    """The frame of one annotation, or all that is wrong with it."""
    seen = examine(item, settings)
    if seen.failed or seen.content is None or seen.image is None:
        return Sample(None, seen.problems)
    shapes = [shape for shape in seen.shapes if shape is not None]
    return Sample(_frame(item, seen.content, seen.image, shapes), seen.problems)


def read_shapes(
    raw: list[Any], table: LabelTable, unknown: str, max_mask_pixels: int
) -> tuple[list[Shape | None], list[Problem]]:
    """Shapes at their index with their masks, and at most one error for each.

    A shape of an unknown label is an error and still there; what cannot be read is None.
    """
    shapes: list[Shape | None] = []
    problems: list[Problem] = []
    for index, one in enumerate(raw):
        shape = None
        try:
            shape, found = labelme.read_shape(one)
            problems += [replace(problem, shape=index) for problem in found]
            if not labelme.degenerate(shape):
                known = table.resolve(shape.label) is not None
                if not known and unknown == "error":
                    raise RefusedError("unknown_label", unknown_label(shape.label, table))
                if known and shape.type == "mask":
                    bare, shape = shape, None
                    shape, found = _with_mask(bare, one, max_mask_pixels)
                    problems += [replace(problem, shape=index) for problem in found]
        except RefusedError as error:
            problems.append(replace(error.problem, shape=index))
        shapes.append(shape)
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
