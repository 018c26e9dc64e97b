"""Makes a whole synthetic data set: frame after frame, with any number of worker processes.

Frame i is a function of (seed, i) and the size alone; the last `val_frames` frames are the
validation part, scenes of their own that share nothing with those before them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from perception.errors import PerceptionError, UsageError
from perception.files import read_json, write_json
from perception.processes import start_worker, worker_context
from perception.synthesis.annotate import annotate
from perception.synthesis.render import render
from perception.synthesis.scene import draw_scene
from perception.synthesis.write import FOLDERS, write_frame, write_split

RECORD = "synthesis.json"  # written last: what was asked for
STAGE = ".synthesis"  # frames are made here and moved when all of them are whole
RELEASE = 1  # counts changes of the pictures


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
    if _recorded(out) == asdict(request):
        return Summary(done.train, done.val, True)
    there = [out / folder for folder in FOLDERS if (out / folder).exists()]
    if there and not overwrite:
        raise UsageError(
            out,
            "frames of another run",
            "a new or empty folder",
            "Choose another folder, or add --overwrite to replace them.",
        )
    with _staging(out) as stage:
        keys = []
        for key in _made(stage, request, workers):
            keys.append(key)
            progress(len(keys))
        write_split(stage, "train", keys[: done.train])
        write_split(stage, "val", keys[done.train :])
        (out / RECORD).unlink(missing_ok=True)
        for folder in there:
            shutil.rmtree(folder)
        for name in FOLDERS:
            (stage / name).rename(out / name)
    write_json(out / RECORD, asdict(request))
    return done


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


def _made(out: Path, request: Request, workers: int) -> Iterator[str]:
    """Keys in the order of the frames."""
    make = partial(make_frame, out, request)
    if workers <= 1:
        yield from map(make, range(request.frames))
        return
    context = worker_context(__name__)
    with ProcessPoolExecutor(min(workers, request.frames), context, start_worker) as pool:
        try:
            yield from pool.map(make, range(request.frames), chunksize=4)
        except BrokenProcessPool as error:
            raise PerceptionError(
                "--workers",
                "a worker process that was killed",
                "all of them alive",
                "Is the memory full? Use fewer workers.",
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _recorded(out: Path) -> object:
    path = out / RECORD
    return read_json(path) if path.is_file() else None
