"""Finding files: one rule for what is data, for every reader, scorer and converter.

Suffixes are compared without case. Names that begin with a dot (macOS' `._name`, temporary files,
`.ipynb_checkpoints`) and folders that systems put beside data (`__MACOSX`) are never data. Linked
folders are entered, each folder once. A folder that cannot be read is an error. Whatever is not
taken is counted, so that it can be said.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from perception.errors import PerceptionError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
_OF_SYSTEMS = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Found:
    """The files that were asked for, and how many others there are."""

    files: tuple[Path, ...]  # sorted
    others: Mapping[str, int]  # data of other suffixes: files by suffix, in lower case
    hidden: int = 0  # files and folders that are never data

    @property
    def left_out(self) -> str:
        """E.g. "2 .txt, 1 .csv, 3 hidden"; empty where everything was taken."""
        kinds = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
        words = [f"{count} {suffix or 'without suffix'}" for suffix, count in kinds]
        return ", ".join(words + [f"{self.hidden} hidden"] * bool(self.hidden))


def is_data(name: str) -> bool:
    """False for names of files and folders that are never data."""
    return not name.startswith(".") and name.lower() not in _OF_SYSTEMS


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends in one of `suffixes` (in lower case), in any case."""
    return name.lower().endswith(suffixes)


def files_in(folder: Path, suffixes: tuple[str, ...] = ("",)) -> Found:
    """The files of one folder that end in one of `suffixes`; ("",): all of them.

    A folder of such a name is taken too: reading it is an error, not silence.

    Raises:
        PerceptionError: no such folder, or one that cannot be read.
    """
    return _found([(Path(folder), listing(folder))], suffixes)


def files_below(folder: Path, suffixes: tuple[str, ...] = ("",)) -> Found:
    """Like `files_in`, with all folders below; linked folders are entered, each folder once."""
    return _found(walk(folder), suffixes)


def walk(folder: Path) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """(folder, its entries) of a folder and all folders of data below it.

    Links are followed after everything else, so that what lies in `folder` itself is found by its
    own path, and never upwards.

    Raises:
        PerceptionError: a folder that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    above = os.path.realpath(folder)
    pending, links = deque([Path(folder)]), deque[Path]()
    while pending or links:
        here = pending.popleft() if pending else links.popleft()
        entries = listing(here)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield here, entries
        for entry in entries:
            if is_data(entry.name) and is_folder(entry):
                if not entry.is_symlink():
                    pending.append(here / entry.name)
                elif not above.startswith(os.path.realpath(entry.path).rstrip("/") + "/"):
                    links.append(here / entry.name)


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name.

    Raises:
        PerceptionError: no such folder, or one that cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PerceptionError(
            folder, reason.lower(), "a folder that can be read", "Check the path and its rights."
        ) from error


def find_image(folder: Path, stem: str) -> Path | None:
    """The image `folder/stem` with one of `IMAGE_SUFFIXES` in any case; None: there is none.

    Raises:
        PerceptionError: two images of that name.
    """
    return find_named(folder, stem, IMAGE_SUFFIXES)


def find_named(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    """The file `folder/stem` with one of `suffixes` in any case; None: there is none.

    Raises:
        PerceptionError: two files of that name.
    """
    folder = Path(folder)
    spellings = (s for suffix in suffixes for s in dict.fromkeys((suffix, suffix.upper())))
    found = [path for s in spellings if (path := folder / f"{stem}{s}").is_file()]
    if not found and folder.is_dir():  # .Jpg
        folded = _folded(folder, folder.stat().st_mtime_ns)
        found = [folder / n for s in suffixes for n in folded.get(f"{stem}{s}", ())]
    distinct = {_identity(path): path for path in reversed(found)}
    if len(distinct) > 1:
        names = " and ".join(sorted(path.name for path in distinct.values()))
        raise PerceptionError(folder / stem, names, "one file of that name", "Remove the others.")
    return found[0] if found else None


def _identity(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:  # a link that leads nowhere: reading it says so
        return path.lstat().st_ino


@lru_cache(maxsize=16)
def _folded(folder: Path, _: int) -> dict[str, list[str]]:
    """Names of the files of a folder by the same name with the suffix in lower case."""
    names: dict[str, list[str]] = {}
    for entry in listing(folder):
        if _is_file(entry):
            path = Path(entry.name)
            names.setdefault(path.stem + path.suffix.lower(), []).append(entry.name)
    return names


def _found(
    folders: Iterable[tuple[Path, list[os.DirEntry[str]]]], suffixes: tuple[str, ...]
) -> Found:
    files: list[Path] = []
    others: Counter[str] = Counter()
    hidden = 0
    for folder, entries in folders:
        for entry in entries:
            if not is_data(entry.name):
                hidden += 1
            elif entry.name.lower().endswith(suffixes) and (suffixes != ("",) or _is_file(entry)):
                files.append(folder / entry.name)
            elif _is_file(entry):
                others[Path(entry.name).suffix.lower()] += 1
    return Found(tuple(sorted(files)), dict(others), hidden)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    return not is_folder(entry)
