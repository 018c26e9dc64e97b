"""Which picture belongs to a label that names it: by path, never by its bare name where that fits
several.

Labels of several drives often hold the same frame names. A label is paired with the picture whose
path agrees best with the name it gives, then with its own place among the folders. What still fits
several pictures is refused and all of them are listed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from perception.formats.problems import Problem, RefusedError

Key = TypeVar("Key", bound=Hashable)

_LISTED = 5  # pictures named in a message


@dataclass(frozen=True)
class Pairing:
    """The picture of one label, or why it has none."""

    picture: Path | None
    problem: Problem | None = None


@dataclass(frozen=True)
class _Fit:
    """How well a picture fits: parts of its path that the name gives, folders that it shares."""

    picture: Path
    score: tuple[int, int]
    whole: bool  # the name agrees with the whole path, as far as both go


def pair(
    labels: Mapping[Key, tuple[str, Path]], pictures: Sequence[Path], root: Path
) -> dict[Key, Pairing]:
    """The picture of every label.

    Args:
        labels: key → (name of its picture, with or without folders and suffix; path of the label).
        pictures: all candidates.
        root: the folder that both are below.
    """
    by_stem: dict[str, list[Path]] = {}
    for picture in pictures:
        by_stem.setdefault(picture.stem, []).append(picture)
    fits: dict[Key, _Fit] = {}
    found: dict[Key, Pairing] = {}
    for key, (name, label) in labels.items():
        try:
            fits[key] = _best(name, label, by_stem, root)
        except RefusedError as error:
            found[key] = Pairing(None, error.problem)
    best: dict[Path, tuple[int, int]] = {}
    for fit in fits.values():
        best[fit.picture] = max(fit.score, best.get(fit.picture, fit.score))
    for key, fit in fits.items():
        found[key] = _settled(labels[key][0], fit, best[fit.picture], root)
    return {key: found[key] for key in labels}


def _settled(name: str, fit: _Fit, best: tuple[int, int], root: Path) -> Pairing:
    """A picture belongs to the labels that fit it best; another folder's name is said."""
    shown = fit.picture.relative_to(root).as_posix()
    if fit.score < best:
        detail = f"no picture {name}; {shown} has that name, but belongs to other labels"
        return Pairing(None, Problem("image_missing", detail, error=True))
    if fit.whole:
        return Pairing(fit.picture)
    detail = f"the label names {name[:200]!r}, used {shown!r}"
    return Pairing(fit.picture, Problem("image_path_fallback", detail))


def _best(name: str, label: Path, by_stem: Mapping[str, list[Path]], root: Path) -> _Fit:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    candidates = _named(parts[-1] if parts else "", by_stem)
    if not candidates:
        raise RefusedError("image_missing", f"no picture {name} in the folder")
    folders = parts[:-1]
    place = label.parent.relative_to(root).parts
    fits = []
    for picture in candidates:
        there = picture.parent.relative_to(root).parts
        shared = _same_end(folders, there)
        whole = shared == min(len(folders), len(there))
        fits.append(_Fit(picture, (shared, _same_places(place, there)), whole))
    top = max(fit.score for fit in fits)
    chosen = [fit for fit in fits if fit.score == top]
    if len(chosen) > 1:
        listed = [fit.picture.relative_to(root).as_posix() for fit in chosen]
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        raise RefusedError(
            "image_ambiguous",
            f"the name {name[:200]!r} fits {len(listed)} pictures: {', '.join(listed[:_LISTED])}"
            f"{more}; name the folder in the label, or convert one folder at a time",
        )
    return chosen[0]


def _named(base: str, by_stem: Mapping[str, list[Path]]) -> list[Path]:
    """Pictures of this very name, else those of its stem."""
    stem = PurePosixPath(base).stem
    exact = [p for p in by_stem.get(stem, ()) if p.name == base]
    if exact:
        return exact
    return by_stem.get(base, []) or by_stem.get(stem, [])


def _same_end(one: Sequence[str], two: Sequence[str]) -> int:
    """Equal parts at the end of two paths."""
    count = 0
    for a, b in zip(reversed(one), reversed(two), strict=False):
        if a != b:
            break
        count += 1
    return count


def _same_places(one: Sequence[str], two: Sequence[str]) -> int:
    """Equal parts at the start and at the end: labels/day1 and images/day1 share one."""
    start = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        start += 1
    return start + _same_end(one[start:], two[start:])
