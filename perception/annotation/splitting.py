"""Which frames are kept for validation: whole folders, else the last ones; never by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from perception.annotation.interfaces import Item
from perception.errors import UsageError


def split_of(items: Sequence[Item], share: float) -> list[str]:
    """ "train" or "val" for each item.

    Frames of one folder are one recording and stay together, since neighbours look alike. Folders
    are taken from the largest while they fit into `share`; a single folder gives its last frames.

    Raises:
        UsageError: fewer than two frames.
    """
    if len(items) < 2:
        raise UsageError("--val-share", f"{len(items)} frames", "at least 2 to split")
    wanted = min(max(1, round(share * len(items))), len(items) - 1)
    folders = [PurePosixPath(item.file.split("#")[0]).parent.as_posix() for item in items]
    sizes = Counter(folders)
    if len(sizes) == 1:
        return ["train"] * (len(items) - wanted) + ["val"] * wanted
    chosen: set[str] = set()
    taken = 0
    for folder, size in sorted(sizes.items(), key=lambda row: (-row[1], row[0])):
        if taken + size <= wanted:
            chosen.add(folder)
            taken += size
    if not chosen:  # every folder is larger than the share
        chosen = {min(sizes, key=lambda folder: (sizes[folder], folder))}
    return ["val" if folder in chosen else "train" for folder in folders]
