"""Finding the files of a benchmark; whatever is missing or double is an error that names it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path

from perception.errors import PerceptionError
from perception.files import (
    IMAGE_SUFFIXES,
    Found,
    files_below,
    files_in,
    find_named,
    has_suffix,
    read_text,
)


def labels_of(folder: Path, suffix: str, *, below: bool, do: str) -> dict[str, Path]:
    """The files that end in `suffix`, in any case, by their path in the folder without it; sorted.

    Raises:
        PerceptionError: there is none, or two of one name.
    """
    found = (files_below if below else files_in)(folder, (suffix.lower(),))
    if not found.files:
        others = f", but {found.left_out}" if found.left_out else ""
        raise PerceptionError(folder, f"no file that ends in {suffix}{others}", "labels", do)
    labels: dict[str, Path] = {}
    for path in found.files:
        key = str(path.relative_to(folder))[: -len(suffix)]
        if key in labels:
            raise PerceptionError(path, f"a second label of {key}", f"only {labels[key].name}")
        labels[key] = path
    return labels


def prediction_of(folder: Path, key: str, suffix: str, *, for_: str, do: str) -> Path:
    """The file `folder/key` with the suffix in any case.

    Raises:
        PerceptionError: there is none, or two.
    """
    path = folder / f"{key}{suffix}"
    found = find_named(path.parent, path.name[: -len(suffix)], (suffix,))
    return needed(path, for_=for_, do=do) if found is None else found


def frame_list(path: str | Path) -> list[str]:
    """The names in a text file, one in each line."""
    return list(dict.fromkeys(read_text(Path(path)).split()))


def own_output(folder: Path, task: str) -> Path:
    """The folder of one task in what `perception predict` wrote; `folder` where it is not that."""
    inner = folder / task
    return inner if task and inner.is_dir() and not _images_or_texts(folder) else folder


def _images_or_texts(folder: Path) -> bool:
    return bool(files_in(folder, (*IMAGE_SUFFIXES, ".txt", ".npy")).files)


def left_out(
    folder: Path, used: Container[Path], *, below: bool, known: tuple[str, ...] = ()
) -> str:
    """How many files of a folder are not in `used`, e.g. "1 .jpg, 2 hidden"; names that end in
    one of `known` (in lower case) are not counted.
    """
    if not folder.is_dir():
        return ""
    found = (files_below if below else files_in)(folder)
    rest = [p for p in found.files if p not in used and not (known and has_suffix(p.name, known))]
    kinds = Counter(path.suffix.lower() for path in rest)
    return Found((), kinds, found.hidden).left_out


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
