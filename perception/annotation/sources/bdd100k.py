"""BDD100K labels (boxes, drivable areas, lanes) as shapes.

The directly drivable area is the own lane, the alternative one other road. Lanes are line strips,
drawn with the width that stands in their key `line_width`.
"""

from __future__ import annotations

from pathlib import Path

from perception.annotation.images import decode_image, inside_of, read_file, refuse_outside
from perception.annotation.interfaces import Item, Sample, Settings, Source
from perception.errors import UsageError
from perception.files import IMAGE_SUFFIXES
from perception.formats.bdd100k import Place, find_frames, read_frame
from perception.formats.problems import Problem, RefusedError
from perception.structures import Frame


def find(src: Path, _: Settings) -> list[Item]:
    """Every frame of every JSON file below `src`; images are found by their name below it."""
    root = src if src.is_dir() else src.parent
    files = sorted(src.rglob("*.json")) if src.is_dir() else [src]
    images = {
        path.name: path
        for path in sorted(root.rglob("*"), reverse=True)
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    items = []
    for path in files:
        try:
            places = find_frames(path)
        except RefusedError as error:
            raise UsageError(path, str(error), "BDD100K labels", "Take the file away.") from None
        items += [_item(path, place, images, root) for place in places]
    if not items:
        raise UsageError(
            src, "no *.json", "BDD100K labels and their images", "Give a folder that holds both."
        )
    return sorted(items, key=lambda item: item.file)


def _item(path: Path, place: Place, images: dict[str, Path], root: Path) -> Item:
    name = Path(place.name.replace("\\", "/")).name
    stem = name.rsplit(".", 1)[0]
    candidates = [
        name,
        *(f"{name}{suffix}" for suffix in IMAGE_SUFFIXES),
        *(f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES),
    ]
    image = next((images[one] for one in candidates if one in images), None)
    file = path.relative_to(root).as_posix()
    shown = f"{file}#{place.name}" if place.start >= 0 or place.index else file
    stem = stem if "." in name else name
    return Item(shown, stem, path, root, (place, image))


def read(item: Item, settings: Settings) -> Sample:
    """The shapes of one frame, with its image."""
    place, path = item.more
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    refuse_outside(inside, item.path, path)
    shapes, problems = read_frame(item.path, place)
    if path is None:
        missing = Problem("image_missing", f"no image {place.name} in the folder", error=True)
        return Sample(None, (*problems, missing))
    image, found = decode_image(read_file(path), suffix=path.suffix)
    problems += found
    if any(problem.error for problem in problems):
        return Sample(None, tuple(problems))
    return Sample(Frame(item.stem, image, shapes=tuple(shapes)), tuple(problems))


SOURCE = Source(find, read)
