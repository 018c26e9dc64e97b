"""Finding the files of a benchmark; whatever is missing or double is an error that names it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from perception.errors import PerceptionError


def files_in(folder: Path, suffix: str) -> list[str]:
    """Names of the files of a folder that end in `suffix`, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.name.endswith(suffix))
    except OSError as error:
        raise _unreadable(folder, error) from error


def files_below(folder: Path, suffix: str) -> list[Path]:
    """Whatever ends in `suffix` anywhere below a folder, sorted; links to folders are followed,
    each folder once. A folder of such a name is listed too: reading it is an error, not silence.
    """
    found: list[Path] = []
    for parent, names in _walk(folder):
        found += [parent / name for name in names if name.endswith(suffix)]
    return sorted(found)


def needed(path: Path, *, for_: str, do: str) -> Path:
    """The path, or an error when there is no such file."""
    if not os.path.lexists(path):
        raise PerceptionError(path, "no such file", f"one for {for_}", do)
    return path


def inside(folder: Path, base: Path, name: str, where: str) -> Path:
    """The file `base/name` of a name that stands in a submitted file; it lies below `folder`.

    Raises:
        PerceptionError: an absolute path, or one that leaves the folder, by `..` or by a link.
    """
    path = Path(os.path.normpath(base / name))
    try:
        real = Path(os.path.realpath(path))
        stays = not Path(name).is_absolute() and real.is_relative_to(os.path.realpath(folder))
    except ValueError:  # a null in the name
        stays = False
    if not stays or not path.is_relative_to(os.path.normpath(folder)):
        raise PerceptionError(where, f"the file {name!r}", f"a file that lies below {folder}")
    return path


def one_per_frame(
    frames: Iterable[str], paths: Iterable[Path], *, folder: Path, kind: str
) -> dict[str, Path]:
    """The one file whose name starts with each frame's name.

    Raises:
        PerceptionError: a frame has none or several.
    """
    by_start: dict[str, list[Path]] = {frame: [] for frame in frames}
    lengths = sorted({len(frame) for frame in by_start})
    for path in paths:
        for length in lengths:
            if path.name[:length] in by_start:
                by_start[path.name[:length]].append(path)
    for frame, found in by_start.items():
        if len(found) != 1:
            names = ", ".join(str(path.relative_to(folder)) for path in found[:3])
            raise PerceptionError(
                f"{folder}: {frame}",
                f"{len(found)} {kind}s ({names})" if found else f"no {kind}",
                f"exactly one {kind} whose name starts with {frame}",
                "Remove the others." if found else "Predict this frame, or name its folder.",
            )
    return {frame: found[0] for frame, found in by_start.items()}


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, names in it) for all folders below; a loop of links ends where it began."""
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                listed = sorted(entries, key=lambda e: e.name)
        except OSError as error:
            raise _unreadable(here, error) from error
        yield here, [e.name for e in listed]
        pending += [here / e.name for e in listed if _is_folder(e)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _unreadable(folder: Path, error: OSError) -> PerceptionError:
    return PerceptionError(
        folder, (error.strerror or str(error)).lower(), "a readable folder", "Check the path."
    )
