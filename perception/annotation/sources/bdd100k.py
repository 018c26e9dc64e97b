"""BDD100K labels (boxes, drivable areas, lanes) as shapes.

The directly drivable area is the own lane, the alternative one other road. Lanes are line strips,
drawn with the width in their key `line_width`.
"""

from __future__ import annotations

from pathlib import Path

from perception.annotation.images import decode_image, inside_of, read_file, refuse_outside
from perception.annotation.interfaces import Contents, Item, Sample, Settings, Source
from perception.annotation.pairing import Pairing, pair
from perception.annotation.walk import walk
from perception.errors import UsageError
from perception.files.finding import IMAGE_SUFFIXES
from perception.formats.bdd100k import Place, find_frames, read_frame
from perception.formats.problems import RefusedError
from perception.structures import Frame


def find(src: Path, settings: Settings) -> Contents:
    """Every frame of every JSON file below `src`; pictures are found by their paths below it."""
    root = src if src.is_dir() else src.parent
    below = walk(root, allow_outside=settings.allow_outside)
    pictures = below.having(IMAGE_SUFFIXES)
    folders = {picture.parent.name for picture in pictures}
    labels: dict[tuple[Path, Place], tuple[str, Path]] = {}
    for path in below.having((".json",)) if src.is_dir() else [src]:
        try:
            places = find_frames(path)
        except RefusedError as error:
            raise UsageError(
                path, f"{error}", do="Remove the file, or replace it with BDD100K labels."
            ) from None
        for place in places:
            video = f"{place.video}/" if place.video in folders else ""
            labels[path, place] = (video + place.name, path)
    if not labels:
        raise UsageError(
            src, "no *.json", "BDD100K labels and their images", "Give a folder that holds both."
        )
    paired = pair(labels, pictures, root)
    items = [_item(path, place, paired[path, place], root) for path, place in labels]
    return Contents(sorted(items, key=lambda item: item.file), below.notes, below.hidden)


def _item(path: Path, place: Place, paired: Pairing, root: Path) -> Item:
    name = Path(place.name.replace("\\", "/")).name
    stem = name.rsplit(".", 1)[0] if "." in name else name
    file = path.relative_to(root).as_posix()
    shown = f"{file}#{place.name}" if place.start >= 0 or place.index else file
    return Item(shown, stem, path, root, (place, paired))


def read(item: Item, settings: Settings) -> Sample:
    """The shapes of one frame, with its image."""
    place, paired = item.more
    path = paired.picture
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    refuse_outside(inside, item.path, path)
    shapes, problems = read_frame(item.path, place)
    if paired.problem is not None:
        problems.append(paired.problem)
    if path is None:
        return Sample(None, tuple(problems))
    image, found = decode_image(read_file(path), suffix=path.suffix)
    problems += found
    if any(problem.error for problem in problems):
        return Sample(None, tuple(problems))
    return Sample(Frame(item.stem, image, shapes=tuple(shapes)), tuple(problems))


SOURCE = Source(find, read)
