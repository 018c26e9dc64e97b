"""The files below a folder that count as data, and what of the folder could not be looked at.

What is data is decided in `perception.files`; but here a linked folder that leads out is entered
only where the user allows it, and a folder that cannot be read never stops the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perception.annotation.interfaces import Contents, Item, Settings
from perception.errors import UsageError
from perception.files.finding import has_suffix, is_data
from perception.formats.problems import Problem


@dataclass(frozen=True)
class Walk:
    """What is below a folder."""

    files: tuple[Path, ...]  # in the order of their paths
    notes: tuple[tuple[str, Problem], ...] = ()  # (folder, what is wrong with it)
    hidden: int = 0  # files passed over because of their names

    def having(self, suffixes: tuple[str, ...]) -> list[Path]:
        """The files with one of these suffixes, in any case."""
        return [path for path in self.files if has_suffix(path.name, suffixes)]


def walk(root: Path, *, allow_outside: bool) -> Walk:
    """Every file below `root`, or `root` itself where it is a file."""
    if not root.is_dir():
        return Walk((root,))
    files: list[Path] = []
    notes: list[tuple[str, Problem]] = []
    hidden = 0
    base = os.path.realpath(root)
    entered: set[str] = set()

    def locked(error: OSError) -> None:
        folder = Path(error.filename).relative_to(root).as_posix()
        detail = f"cannot be opened: {error.strerror}; nothing in it was read"
        notes.append((folder, Problem("folder_unreadable", detail, error=True)))

    def wanted(folder: Path) -> bool:
        if not folder.is_symlink():
            return True
        real = os.path.realpath(folder)
        if real == base or real.startswith(base.rstrip("/") + "/"):
            return False  # what it leads to is walked anyway
        if not allow_outside:
            detail = "a link to a folder outside, not entered; give --allow-outside to enter it"
            notes.append((folder.relative_to(root).as_posix(), Problem("linked_folder", detail)))
            return False
        return not base.startswith(real.rstrip("/") + "/")

    for place, folders, names in os.walk(root, onerror=locked, followlinks=True):
        here = Path(place)
        real = os.path.realpath(place)
        if real in entered:
            folders[:] = []
            continue
        entered.add(real)
        seen = [name for name in sorted(folders) if is_data(name)]
        folders[:] = [name for name in seen if wanted(here / name)]
        kept = [name for name in names if is_data(name)]
        hidden += len(names) - len(kept)
        files += [here / name for name in kept]
    files.sort(key=lambda path: path.relative_to(root).as_posix())
    return Walk(tuple(files), tuple(sorted(notes, key=lambda note: note[0])), hidden)


def files_of(
    folder: Path, src: Path, settings: Settings, kind: str, stem_of: Callable[[str], str | None]
) -> Contents:
    """The annotations directly in `folder`, by name.

    Args:
        kind: what they are called, for the message when there are none.
        stem_of: the stem of an output for a file name; None: no annotation.

    Raises:
        UsageError: there are none.
    """
    below = walk(folder, allow_outside=settings.allow_outside)
    items = []
    for path in below.files:
        stem = stem_of(path.name)
        if stem is not None and path.parent == folder:
            items.append(Item(path.relative_to(src).as_posix(), stem, path, src))
    if not items:
        raise UsageError(folder, f"no {kind} in this folder", do="Nothing was converted.")
    return Contents(items, below.notes, below.hidden)
