"""Finding the frames of a data set below a root folder; opens no image.

A partial folder is legal: frames of a split's list that are not there are counted, not an error.
A frame whose image is there but whose label is not is an error, named with its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from perception.errors import PerceptionError
from perception.files import IMAGE_SUFFIXES, has_suffix, is_data
from perception.files.finding import is_folder
from perception.files.finding import listing as entries_of
from perception.formats.frame_lists import Names, read_lines
from perception.formats.manifest import Manifest, Split, template_fields, template_regex

_LABEL_SUFFIXES = (".txt", ".json", ".xml", ".mat", ".npy", *IMAGE_SUFFIXES)


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
    unknown: tuple[str, ...] = ()  # lines of a list of one's own that name no frame
    left_out: Mapping[str, int] = field(default_factory=dict)  # files beside the images, by suffix

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
            file is unreadable or names a frame that is not there, or a needed label is missing.
    """
    root, chosen = Path(root).expanduser(), manifest.split(split)
    listing = survey(manifest, root, chosen)
    if listing.unknown and (listing.frames or _images(manifest, root, _whole(chosen))[0]):
        raise _unknown(manifest, root, chosen, listing)
    if not listing.frames:
        raise _nothing_found(manifest, root, chosen)
    for frame in listing.frames:
        for label in needed:
            if label not in frame.labels:
                raise _label_missing(manifest, root, chosen, frame, label)
    return listing


def survey(manifest: Manifest, root: Path, split: Split) -> Listing:
    """What is there of `split` and what is not, without judging it."""
    root = Path(root).expanduser()
    if not root.is_dir():
        raise PerceptionError(
            root,
            "no such folder",
            f"the root of {manifest.title}",
            f"Set its root; below it: {_template(manifest, 'image', split)}",
        )
    images, left_out = _images(manifest, root, split)
    keys, unknown = _listed(manifest, split, root, images)
    absent = tuple(k for k in keys if k not in images) if keys is not None else ()
    present = [k for k in (keys if keys is not None else sorted(images)) if k in images]
    frames, unlabelled = [], []
    folders = Folders(root)
    for key in present:
        image, values = images[key]
        labels = {}
        for name in manifest.layout:
            if name == "image":
                continue
            relative = manifest.layout[name].format(**values)
            path = folders.find(relative)
            if path is not None:
                labels[name] = path
            elif split.labelled and name not in manifest.optional:
                unlabelled.append(root / relative)
        frames.append(FrameFiles(key, image, labels))
    expected = split.frames if split.frames is not None else (len(keys) if keys else None)
    return Listing(tuple(frames), expected, absent, tuple(unlabelled), unknown, left_out)


def read_keys(path: Path) -> list[str]:
    """Lines of a list file, as they are; blank lines and lines with # left out."""
    return [line.text for line in read_lines(path)]


class Folders:
    """The folders below a root, each listed once; a suffix fits in any case."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[str, dict[str, list[str]]] = {}

    def find(self, relative: str) -> Path | None:
        """The file of a path below the root, which may lack the suffix of an image.

        Raises:
            PerceptionError: several files fit, or a folder cannot be read.
        """
        folder, _, name = relative.rpartition("/")
        suffixes = ("",) if has_suffix(name, _LABEL_SUFFIXES) else IMAGE_SUFFIXES
        listed = self.listed(folder)
        found = [n for suffix in suffixes for n in listed.get(_folded(name + suffix), ())]
        if len(found) > 1 and name in found:
            found = [name]
        if len(found) > 1:
            raise PerceptionError(
                self.root / relative, " and ".join(sorted(found)), "one file of that name"
            )
        return self.root / folder / found[0] if found else None

    def listed(self, folder: str) -> dict[str, list[str]]:
        """Names of the files of a folder, by themselves with the suffix in lower case."""
        if folder not in self.names:
            names: dict[str, list[str]] = {}
            path = self.root / folder
            for entry in entries_of(path) if path.is_dir() else ():
                if is_data(entry.name):
                    names.setdefault(_folded(entry.name), []).append(entry.name)
            self.names[folder] = names
        return self.names[folder]


def _images(
    manifest: Manifest, root: Path, split: Split
) -> tuple[dict[str, tuple[Path, dict[str, str]]], dict[str, int]]:
    """Key → image path and field values of the split's part; and what lies beside the images."""
    template = _template(manifest, "image", split)
    regex = template_regex(template)
    suffix = template[template.rindex(".") :] if has_suffix(template, IMAGE_SUFFIXES) else ""
    others = [
        template_regex(_template(manifest, n, split)) for n in manifest.layout if n != "image"
    ]
    found: dict[str, tuple[Path, dict[str, str]]] = {}
    left_out: Counter[str] = Counter()
    for relative in _below(root, template):
        match = None
        if has_suffix(relative, (suffix.lower(),) if suffix else IMAGE_SUFFIXES):
            match = regex.fullmatch(relative[: relative.rindex(".")] + suffix)
        if match is None:
            stem = relative[: relative.rindex(".")] if "." in relative else relative
            if not any(other.fullmatch(name) for other in others for name in (relative, stem)):
                left_out[Path(relative).suffix.lower()] += 1
            continue
        values = manifest.field_values(match.groupdict(), split.part)
        key = manifest.key.format(**values)
        if not _wanted(key, split):
            continue
        if key in found:
            raise PerceptionError(
                root / relative,
                f"a second image of frame {key}, beside {found[key][0].relative_to(root)}",
                "one image per frame",
                "Remove one, or put what tells them apart into `key` of the dataset.yaml.",
            )
        found[key] = (root / relative, values)
    return found, dict(left_out)


def _below(root: Path, template: str) -> Iterator[str]:
    """Files that may fit a template, as paths below the root, in order."""
    *folders, _ = template.split("/")
    places = [""]
    for part in folders:
        if not template_fields(part):
            places = [f"{place}{part}/" for place in places if (root / place / part).is_dir()]
            continue
        regex = template_regex(part)
        places = [
            f"{place}{entry.name}/"
            for place in places
            for entry in entries_of(root / place)
            if is_data(entry.name) and regex.fullmatch(entry.name) and is_folder(entry)
        ]
    for place in places:
        for entry in entries_of(root / place):
            if is_data(entry.name) and not (is_folder(entry) and "." not in entry.name):
                yield f"{place}{entry.name}"


def _folded(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}" if dot else name


def _listed(
    manifest: Manifest, split: Split, root: Path, images: Mapping[str, tuple[Path, dict[str, str]]]
) -> tuple[list[str] | None, tuple[str, ...]]:
    """Wanted keys of the split's list, in its order (None without a list); lines of no frame.

    A packaged list names the complete data set, of which a part is legal; in a list of one's own
    every line must name a frame.
    """
    if split.list is None:
        return None, ()
    path = split.list.expanduser()
    path = path if path.is_file() else root / path
    names = Names({key: image.relative_to(root).as_posix() for key, (image, _) in images.items()})
    own = split.name not in manifest.splits or not manifest.is_packaged
    keys, unknown = [], []
    for line in read_lines(path):
        where = f"{path}, line {line.number}"
        key = names.key(where, line.text)
        if key is None and own and _wanted(line.text, split):
            unknown.append(f"{where}: found {line.text[:80]}")
        if _wanted(key or line.text, split):
            keys.append(key or line.text)
    if len(set(keys)) < len(keys):
        twice = next(k for k, count in Counter(keys).items() if count > 1)
        raise PerceptionError(path, f"{twice} twice", "every frame once", "Remove one line.")
    return keys, tuple(unknown)


def _wanted(key: str, split: Split) -> bool:
    inside = not split.include or any(fnmatch(key, p) for p in split.include)
    return inside and not any(fnmatch(key, p) for p in split.exclude)


def _template(manifest: Manifest, name: str, split: Split) -> str:
    return manifest.layout[name].replace("{part}", split.part)


def _whole(split: Split) -> Split:
    """The part of a split, whatever its list and patterns say."""
    return Split(split.name, split.part)


def _unknown(manifest: Manifest, root: Path, split: Split, listing: Listing) -> PerceptionError:
    """What a list of one's own names and the folder lacks."""
    where, _, found = listing.unknown[0].partition(": found ")
    more = len(listing.unknown) - 1
    images = _images(manifest, root, _whole(split))[0]
    return PerceptionError(
        where,
        found + (f" (and {more} more lines of no frame)" if more else ""),
        f"the name of a frame, e.g. {min(images)}",
        f"Correct the list; images are found at {_template(manifest, 'image', split)}.",
    )


def _nothing_found(manifest: Manifest, root: Path, split: Split) -> PerceptionError:
    """Says whether the folder is wrong, or the split is empty in the right one."""
    template = _template(manifest, "image", split)
    expected = f"images {template}{'' if '.' in Path(template).name else '.png or .jpg'}"
    if there := _images(manifest, root, _whole(split))[0]:
        whole = "train=all val=all, " if "all" in manifest.splits else ""
        return PerceptionError(
            f"{manifest.name}: split {split.name}",
            f"none of the {len(there)} frames in {root}",
            f"keys as in the split, where yours look like {min(there)}",
            f"Use {whole}a list file of your own (train=my_train.txt), or another split: "
            f"{', '.join(manifest.splits)}.",
        )
    entries = [e.name + "/" * e.is_dir() for e in entries_of(root) if is_data(e.name)]
    shown = ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "")
    hint = f"Set the root of {manifest.name} to the folder that holds {template.split('/')[0]}."
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and is_data(p.name)):
        if _images(manifest, folder, _whole(split))[0]:
            hint = f"Set the root of {manifest.name} to {folder}."
            break
    return PerceptionError(root, shown or "an empty folder", expected, hint)


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
