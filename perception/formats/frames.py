"""Finding the frames of a data set below a root folder; opens no image.

A partial folder is legal: frames of a split's list that are not there are counted, not an error.
A frame whose image is there but whose label is not is an error, named with its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from perception.errors import PerceptionError
from perception.files import IMAGE_SUFFIXES, read_text
from perception.formats.manifest import Manifest, Split, template_fields, template_regex


@dataclass(frozen=True)
class FrameFiles:
    """Paths of one frame."""

    key: str  # unique in its data set, e.g. "um_000005"
    image: Path
    labels: Mapping[str, Path]  # by the names of the layout; absent: the frame has none


@dataclass(frozen=True)
class Listing:
    """The frames of one split that are there, and what is not."""

    frames: tuple[FrameFiles, ...]  # sorted by key
    expected: int | None  # frames of the complete split
    absent: tuple[str, ...]  # keys of the split's list without an image
    unlabelled: tuple[Path, ...]  # label files that should be there and are not

    @property
    def summary(self) -> str:
        """E.g. "57 of 7481 frames"."""
        of = f" of {self.expected}" if self.expected is not None else ""
        return f"{len(self.frames)}{of} frames"


def find_frames(
    manifest: Manifest, root: Path, split: str, needed: tuple[str, ...] = ()
) -> Listing:
    """The frames of `split` below `root`; `needed` labels must exist where the image does.

    Raises:
        PerceptionError: the root or the folder of the images is absent, no frame was found, a list
            file is unreadable, or a needed label file is missing.
    """
    chosen = manifest.split(split)
    listing = survey(manifest, root, chosen)
    if not listing.frames:
        raise _nothing_found(manifest, root, chosen, listing)
    for frame in listing.frames:
        for label in needed:
            if label not in frame.labels:
                raise _label_missing(manifest, root, chosen, frame, label)
    return listing


def survey(manifest: Manifest, root: Path, split: Split) -> Listing:
    """What is there of `split` and what is not, without judging it."""
    root = Path(root)
    if not root.is_dir():
        raise PerceptionError(
            root,
            "no such folder",
            f"the root of {manifest.title}",
            f"Set its root; below it: {_template(manifest, 'image', split)}",
        )
    images = _images(manifest, root, split)
    keys = _listed(split, root)
    absent = tuple(k for k in keys if k not in images) if keys is not None else ()
    present = [k for k in (keys if keys is not None else sorted(images)) if k in images]
    frames, unlabelled = [], []
    for key in present:
        image, values = images[key]
        labels = {}
        for name in manifest.layout:
            if name == "image":
                continue
            path = _existing(root, manifest.layout[name].format(**values))
            if path is not None:
                labels[name] = path
            elif split.labelled and name not in manifest.optional:
                unlabelled.append(root / manifest.layout[name].format(**values))
        frames.append(FrameFiles(key, image, labels))
    expected = split.frames if split.frames is not None else (len(keys) if keys else None)
    return Listing(tuple(frames), expected, absent, tuple(unlabelled))


def read_keys(path: Path) -> list[str]:
    """Keys of a list file: one per line, blank lines and lines with # left out."""
    lines = (line.split("#")[0].strip() for line in read_text(path).splitlines())
    return [line for line in lines if line]


def _images(manifest: Manifest, root: Path, split: Split) -> dict[str, tuple[Path, dict[str, str]]]:
    """Key → image path and field values, for every image of the split's part."""
    template = _template(manifest, "image", split)
    suffixes = ("",) if Path(template).suffix in IMAGE_SUFFIXES else IMAGE_SUFFIXES
    found: dict[str, tuple[Path, dict[str, str]]] = {}
    pattern = template.format(**dict.fromkeys(template_fields(template), "*"))
    regex = template_regex(template)
    for suffix in suffixes:
        for path in root.glob(pattern + suffix):
            name = path.relative_to(root).as_posix()
            match = regex.fullmatch(name.removesuffix(suffix))
            if match is None:
                continue
            values = manifest.field_values(match.groupdict(), split.part)
            key = manifest.key.format(**values)
            if _wanted(key, split):
                found.setdefault(key, (path, values))
    return found


def _listed(split: Split, root: Path) -> list[str] | None:
    """Wanted keys of the split's list, in its order; None without a list."""
    if split.list is None:
        return None
    path = split.list if split.list.is_file() else root / split.list
    keys = [key for key in read_keys(path) if _wanted(key, split)]
    if len(set(keys)) < len(keys):
        twice = next(k for k in keys if keys.count(k) > 1)
        raise PerceptionError(path, f"{twice} twice", "every frame once", "Remove one line.")
    return keys


def _wanted(key: str, split: Split) -> bool:
    inside = not split.include or any(fnmatch(key, p) for p in split.include)
    return inside and not any(fnmatch(key, p) for p in split.exclude)


def _existing(root: Path, relative: str) -> Path | None:
    """The file, or with an image suffix where the template gives none."""
    if Path(relative).suffix in {".txt", ".json", ".xml", ".mat", *IMAGE_SUFFIXES}:
        return root / relative if (root / relative).is_file() else None
    for suffix in IMAGE_SUFFIXES:
        path = root / f"{relative}{suffix}"
        if path.is_file():
            return path
    return None


def _template(manifest: Manifest, name: str, split: Split) -> str:
    return manifest.layout[name].replace("{part}", split.part)


def _nothing_found(
    manifest: Manifest, root: Path, split: Split, listing: Listing
) -> PerceptionError:
    template = _template(manifest, "image", split)
    entries = sorted(p.name + "/" * p.is_dir() for p in Path(root).iterdir())
    shown = ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "")
    hint = f"Set the root of {manifest.name} to the folder that holds {template.split('/')[0]}."
    for folder in sorted(p for p in Path(root).iterdir() if p.is_dir()):
        if survey(manifest, folder, split).frames:
            hint = f"Set the root of {manifest.name} to {folder}."
            break
    if listing.absent and _images(manifest, root, Split(split.name, split.part)):
        shown = f"images, but none of the {len(listing.absent)} of split {split.name}"
        hint = f"Choose another split ({', '.join(manifest.splits)}) or give a list file (.txt)."
    return PerceptionError(
        root,
        shown or "an empty folder",
        f"images {template}{'' if '.' in Path(template).name else '.png or .jpg'}",
        hint,
    )


def _label_missing(
    manifest: Manifest, root: Path, split: Split, frame: FrameFiles, label: str
) -> PerceptionError:
    if label not in manifest.layout:
        return PerceptionError(
            f"{manifest.path}: layout",
            f"no {label}",
            f"one of {', '.join(manifest.layout)}",
            f"{manifest.title} carries no {label}; choose other tasks.",
        )
    return PerceptionError(
        root,
        f"no {label} file for {frame.image.name}",
        _template(manifest, label, split),
        f"Run `perception prepare {manifest.name} --root {root}` for the whole list.",
    )
