"""Makes a whole synthetic data set: frame after frame, with any number of worker processes.

Frame i is a function of (seed, i) and the size alone; the last `val_frames` frames are the
validation part, scenes of their own that share nothing with those before them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from perception.errors import PerceptionError, UsageError
from perception.files import read_json, read_text, write_json
from perception.processes import map_in_order
from perception.synthesis.annotate import annotate
from perception.synthesis.render import render
from perception.synthesis.scene import draw_scene
from perception.synthesis.write import FOLDERS, frame_paths, split_paths, write_frame, write_split

RECORD = "synthesis.json"  # written last: what was asked for
KEYS = "keys"  # of the record: the frames of each part
STAGE = ".synthesis"  # frames are made here and moved when all of them are whole
RELEASE = 1  # counts changes of the pictures

Keys = dict[str, list[str]]  # names of frames by part, train and val


@dataclass(frozen=True)
class Request:
    """What to make."""

    frames: int  # in all
    val_frames: int  # the last ones of them
    seed: int
    width: int
    height: int
    release: int = RELEASE


@dataclass(frozen=True)
class Summary:
    """What was made."""

    train: int
    val: int
    already_there: bool


def synthesize(
    out: Path,
    request: Request,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Writes the frames below `out`; `progress` is told how many are done.

    Nothing is done when `out` holds the same request already. The result is the same for every
    number of workers.

    Raises:
        UsageError: `out` holds other frames and `overwrite` is False.
        PerceptionError: something cannot be written.
    """
    done = Summary(request.frames - request.val_frames, request.val_frames, False)
    record = _recorded(out)
    if record is not None and {**record, KEYS: None} == {**asdict(request), KEYS: None}:
        return Summary(done.train, done.val, True)
    there = [name for name in FOLDERS if os.path.lexists(out / name)]
    if there and record is None:
        raise UsageError(
            out,
            f"{there[0]}/ and no {RECORD}: not made here",
            "a new or empty folder",
            "Choose another folder; nothing in this one is removed.",
        )
    if there and not overwrite:
        raise UsageError(
            out,
            "frames of another run",
            "a new or empty folder",
            "Choose another folder, or add --overwrite to replace them.",
        )
    with _staging(out) as stage:
        made = []
        make = partial(make_frame, stage, request)
        for key in map_in_order(make, range(request.frames), workers):
            made.append(key)
            progress(len(made))
        keys = {"train": made[: done.train], "val": made[done.train :]}
        for part, names in keys.items():
            write_split(stage, part, names)
        _replace(stage, out, _keys(out, record), keys)
    write_json(out / RECORD, {**asdict(request), KEYS: keys})
    return done


def _replace(stage: Path, out: Path, old: Keys, new: Keys) -> None:
    """The files of `old` go, those of `new` come from `stage`; whatever else is in `out` stays."""
    gone = set(_paths(old))
    for path in _paths(new):
        if os.path.lexists(out / path) and path not in gone:
            raise PerceptionError(
                out / path, f"a file that {RECORD} does not record", "none", "Move it away."
            )
    both = {part: [*old.get(part, []), *names] for part, names in new.items()}
    write_json(out / RECORD, {KEYS: both})  # a run that is killed from here on can be replaced
    for path in gone:
        (out / path).unlink(missing_ok=True)
    for name in FOLDERS:
        _remove_empty(out / name)
        _merge(stage / name, out / name)


def _paths(keys: Keys) -> list[Path]:
    """Every file of some frames, below the data set."""
    frames = [
        p for part, names in keys.items() for k in names for p in frame_paths(part, k).values()
    ]
    return frames + [path for part in keys for path in split_paths(part).values()]


def _remove_empty(folder: Path) -> None:
    """Removes a folder and those below it, as far as nothing is in them."""
    for parent, _, _ in os.walk(folder, topdown=False):
        if not any(Path(parent).iterdir()):
            Path(parent).rmdir()


def _merge(source: Path, target: Path) -> None:
    """Moves a folder, or what is in it where there is such a folder already."""
    if not os.path.lexists(target):
        source.rename(target)
        return
    for entry in sorted(source.iterdir()):
        _merge(entry, target / entry.name)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A hidden folder in `out` that is gone afterwards; what fails there is one clear error."""
    stage = out / STAGE
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        yield stage
    except OSError as error:
        raise PerceptionError(
            error.filename or out,
            f"cannot write: {error.strerror or error}",
            "a writable folder",
            "Free space or choose another folder.",
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def make_frame(out: Path, request: Request, index: int) -> str:
    """Draws, paints, labels and writes frame `index`; returns its key."""
    scene = draw_scene(request.seed, index, (request.height, request.width))
    rendering = render(scene)
    part = "train" if index < request.frames - request.val_frames else "val"
    return write_frame(out, part, index, scene, rendering.image, annotate(scene, rendering))


def _recorded(out: Path) -> dict[str, Any] | None:
    """What the record of a folder says; None without one."""
    path = out / RECORD
    if not path.is_file():
        return None
    record = read_json(path)
    if not isinstance(record, dict):
        raise PerceptionError(path, type(record).__name__, "a record of frames", "Remove it.")
    return record


def _keys(out: Path, record: dict[str, Any] | None) -> Keys:
    """The frames that a record names; one of an earlier release leaves that to the lists."""
    if record is None:
        return {}
    if KEYS not in record:
        lists = {part: out / split_paths(part)["kitti_road"] for part in ("train", "val")}
        return {part: read_text(p).split() for part, p in lists.items() if p.is_file()}
    keys = record[KEYS]
    good = isinstance(keys, dict) and set(keys) <= {"train", "val"}
    if not good or not all(re.fullmatch("[a-z]+_[0-9]+", str(k)) for v in keys.values() for k in v):
        raise PerceptionError(
            f"{out / RECORD}: {KEYS}", "other words", "names of frames", "Choose another folder."
        )
    result: Keys = keys
    return result
