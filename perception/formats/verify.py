"""Verifying a folder against its manifest: what is there, what is missing, what is damaged.

Every image and label of every frame is read whole. Absent frames are no damage (a partial folder
is legal); absent labels, unreadable files and labels that do not fit their image are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from perception.errors import PerceptionError
from perception.files import IMAGE_SUFFIXES
from perception.formats.contents import Contents, add_contents, contents_of, lacking
from perception.formats.frames import FrameFiles, Listing, find_frames, survey
from perception.formats.manifest import Manifest, Split
from perception.formats.read import NAMES
from perception.processes import map_in_order
from perception.structures import Frame


@dataclass(frozen=True)
class SplitReport:
    """What one split has."""

    name: str
    found: int
    expected: int | None
    absent: tuple[str, ...]  # keys of its list without an image
    contents: Contents = field(default_factory=dict)  # of all its frames
    warnings: tuple[str, ...] = ()  # what a training set would lack
    left_out: Mapping[str, int] = field(default_factory=dict)  # files beside the images, by suffix


@dataclass(frozen=True)
class Checked:
    """What one frame holds."""

    key: str
    lines: tuple[str, ...]  # what is wrong with it
    contents: Contents


@dataclass(frozen=True)
class Report:
    """What a folder has."""

    splits: tuple[SplitReport, ...]
    frames: int  # different frames
    expected: int | None  # frames of the complete parts; None: not known
    damage: tuple[str, ...]  # one line each, with the file, in the order of the frames

    @property
    def summary(self) -> str:
        """E.g. "57 of 7481 frames"."""
        of = f" of {self.expected}" if self.expected is not None else ""
        return f"{self.frames}{of} frames"


def verify(
    manifest: Manifest,
    root: Path,
    splits: Sequence[str] = (),
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Reads everything of the named splits; of all the splits that are there for none named.

    The result does not depend on `workers`. `progress(done, total)` is told after every frame.

    Raises:
        PerceptionError: no such folder, an unknown split, or no frame of any split.
    """
    chosen = [manifest.split(name) for name in splits] or list(manifest.splits.values())
    listings = [(split, survey(manifest, root, split)) for split in chosen]
    frames = {f.key: f for _, listing in listings for f in listing.frames}
    if not frames:
        find_frames(manifest, root, chosen[0].name)  # says what was expected and what is there
    missing = dict.fromkeys(path for _, listing in listings for path in listing.unlabelled)
    damage = [f"{path}: missing, though its image is there" for path in missing]
    ordered = [frames[key] for key in sorted(frames)]
    check = partial(check_frame, manifest=manifest)
    contents: dict[str, Contents] = {}
    for checked in map_in_order(check, ordered, workers):
        damage.extend(checked.lines)
        contents[checked.key] = checked.contents
        if progress:
            progress(len(contents), len(ordered))
    return Report(
        tuple(_split_report(split, listing, contents, manifest) for split, listing in listings),
        len(frames),
        _expected(listings, manifest),
        tuple(damage),
    )


def check_frame(files: FrameFiles, manifest: Manifest) -> Checked:
    """Everything that is wrong with one frame, one line each, and what its labels hold."""
    found = _image(files.image)
    contents: Contents = {}
    for name, path in files.labels.items():
        if name not in (*NAMES, *manifest.targets) and path.suffix.lower() in IMAGE_SUFFIXES:
            found.extend(_image(path))
    try:
        frame = manifest.reader_module.read(files, manifest)
    except PerceptionError as first:
        alone = [line for name in files.labels for line in _label(files, manifest, name)]
        found.extend(line for line in dict.fromkeys(alone or [_line(first)]) if line not in found)
    else:
        found.extend(_degenerate(frame, files))
        contents = contents_of(frame, manifest)
    return Checked(files.key, tuple(found), contents)


def check_image(path: Path) -> None:
    """Decodes an image twice: OpenCV as training does, Pillow because it is strict.

    Raises:
        PerceptionError: it is not whole.
    """
    from PIL import Image

    from perception.files import read_image
    from perception.files.codec_messages import codec_messages, is_damage

    with codec_messages() as messages:
        read_image(path)
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise PerceptionError(
                path, str(error), "a whole image", "Copy or download it again."
            ) from error
    for message in filter(is_damage, messages):
        raise PerceptionError(path, message, "a whole image", "Copy or download it again.")


def _image(path: Path) -> list[str]:
    """What is wrong with one image file."""
    try:
        check_image(path)
    except PerceptionError as error:
        return [_line(error)]
    return []


def _label(files: FrameFiles, manifest: Manifest, name: str) -> list[str]:
    """What is wrong with one label, read without the others (a lane needs its road)."""
    labels = {n: p for n, p in files.labels.items() if n == name or (name, n) == ("lane", "road")}
    try:
        manifest.reader_module.read(FrameFiles(files.key, files.image, labels), manifest)
    except PerceptionError as error:
        return [_line(error)]
    return []


def _degenerate(frame: Frame, files: FrameFiles) -> list[str]:
    """Boxes without area or outside the image."""
    if frame.boxes is None:
        return []
    x1, y1, x2, y2 = frame.boxes.xyxy.T
    height, width = frame.image.size
    wrong = (x2 <= x1) | (y2 <= y1) | (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    return [
        f"{files.labels['boxes']}, box {i + 1}: found corners "
        f"{' '.join(f'{v:g}' for v in frame.boxes.xyxy[i])}, expected a box inside "
        f"{width}x{height} pixels"
        for i in np.flatnonzero(wrong)
    ]


def _split_report(
    split: Split, listing: Listing, contents: Mapping[str, Contents], manifest: Manifest
) -> SplitReport:
    held = add_contents(contents[frame.key] for frame in listing.frames)
    return SplitReport(
        split.name,
        len(listing.frames),
        listing.expected,
        listing.absent,
        held,
        tuple(lacking(held, manifest)) if listing.frames and split.labelled else (),
        listing.left_out,
    )


def _expected(listings: Sequence[tuple[Split, Listing]], manifest: Manifest) -> int | None:
    """Frames of the complete parts: of each part its largest split; None where one is unknown.

    Parts of which nothing is there (a test archive that was not fetched) are left out.
    """
    counts: dict[str, int | None] = {}
    for split, listing in listings:
        if not listing.frames:
            continue
        parts = [s for s in manifest.splits.values() if s.part == split.part]
        known = [s.frames for s in parts if s.frames is not None]
        counts[split.part] = max(known) if known else None
    values = list(counts.values())
    return None if None in values else sum(v for v in values if v is not None)


def _line(error: PerceptionError) -> str:
    return f"{error.where}: found {error.found}, expected {error.expected}"
