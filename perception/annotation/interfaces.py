"""What the converter asks of a format: a `Source` finds and reads frames, a `Target` writes them.

Each format is one small file with one of these records; `perception.annotation.formats` lists them.
A `Frame` stands between any source and any target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perception.annotation.classes import LabelTable, Meaning
from perception.annotation.scene import Scene
from perception.formats.problems import Problem
from perception.labels import LabelScheme
from perception.structures import Frame


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    table: LabelTable
    painter_order: str = "file"
    unknown: str = "error"
    category: str = "um"
    city: str = "custom"
    split: str = "train"
    renumber: bool = False
    allow_outside: bool = False
    calibration: Path | None = None  # folder of calibration files
    scheme: LabelScheme | None = None  # own classes and their ids
    unlabelled: str | None = None  # class of the pixels that no shape covers
    val_share: float | None = None  # frames kept for validation
    part: str = ""  # "train" or "val", set for each frame where there is a share
    rasters: bool = False  # set by the target: read label images rather than polygons


@dataclass(frozen=True)
class Item:
    """One annotation that a source has found, not read yet."""

    file: str  # as reports name it: relative to the source, forward slashes
    stem: str  # what output names are made of
    path: Path
    root: Path  # the folder that must not be left
    more: Any = None  # what else the source wants to know when it reads


@dataclass(frozen=True)
class Contents:
    """What a source has found below a folder."""

    items: list[Item]
    notes: tuple[tuple[str, Problem], ...] = ()  # (folder, what is wrong with it)
    hidden: int = 0  # files passed over because of their names


@dataclass(frozen=True)
class Sample:
    """One annotation read: no frame where a problem is an error."""

    frame: Frame | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Written:
    """The files of one frame, not on disk yet."""

    outputs: Mapping[str, bytes]  # path relative to the output folder
    problems: tuple[Problem, ...] = ()
    part: Any = None  # handed to `Target.finish`


@dataclass(frozen=True)
class Source:
    """How to find and read the frames of one format.

    `find` raises `UsageError` where nothing of the format is there.
    """

    find: Callable[[Path, Settings], Contents]
    read: Callable[[Item, Settings], Sample]


@dataclass(frozen=True)
class Target:
    """How to name and write the frames of one format."""

    folders: tuple[str, ...]  # top-level outputs
    kept: Callable[[str], str | None]  # name for a stem that already follows the format
    numbered: Callable[[int, Settings], str]  # name of the n-th file otherwise
    write: Callable[[Frame, Scene, str, str, Settings], Written]  # frame, scene, name, stem
    matters: Callable[[Meaning], bool] = lambda _: True  # labels without meaning are left out
    drawn: bool = True  # False: wants `Frame.shapes` as they are, no scene
    rasters: bool = False  # rather label images than polygons, where a source has both
    finish: Callable[[Sequence[tuple[str, Any]], Settings], Mapping[str, bytes]] | None = None
    options: frozenset[str] = field(default_factory=frozenset)  # the settings that it heeds
    lists: bool = False  # splits are list files, `splits/train.txt`
