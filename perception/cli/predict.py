"""`perception predict RUN IMAGES...`: overlays, JSON and benchmark files for any images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from perception.cli.options import read_words
from perception.errors import UsageError

HYDRA = True
SYNTAX = "perception predict RUN IMAGES... [key=value ...]"
USAGE = f"""usage: {SYNTAX}

Predicts images, folders of images and videos with a trained run. Writes overlays/ (for a video also
overlay.mp4), json/, and road/, boxes/, semantic/ in the formats that `perception score` reads, all
in original pixels. Of several IMAGES, each folder and video gets a folder of its own. An image that
cannot be read is named and the others are predicted (exit code 1); what lies below `out` never is.

  out=DIR                       where to write (default: RUN/predictions)
  tasks=[road,boxes,semantic]   the heads to run (default: all)
  score=0.4                     lowest score of a drawn box; files hold every box
  which=best|last               checkpoint (default: the best where there is one)
  device=auto                   auto, cpu, cuda, cuda:1, ...

Other key=value words change the run's configuration, e.g. head.boxes.nms_iou=0.4."""
OPTIONS = {"out", "which", "device", "tasks", "score"}


def run(words: Sequence[str]) -> int:
    """Predicts and writes; 0 when every image was predicted."""
    if {"--help", "-h"} & set(words):
        print(USAGE)
        return 0
    read = read_words(words, verb="predict", options=OPTIONS, old=["run", "images"])
    if len(read.paths) < 2:
        missing = "images" if read.paths else "RUN"
        raise UsageError("perception predict", f"no {missing}", "RUN IMAGES...")
    from perception.experiments.load import load
    from perception.inference.predict import predict_source
    from perception.inference.sources import open_source
    from perception.report.overlay import draw_prediction

    lowest = _score(read.options)
    folder, *images = read.paths
    named = read.options.get("out")
    out = Path(named).expanduser() if named else _folder(folder) / "predictions"
    places = [(open_source(path, out=out), place) for path, place in destinations(images, out)]
    model = load(
        folder,
        which=read.options.get("which"),
        device=read.options.get("device", "auto"),
        overrides=read.overrides,
    )
    tasks = [t for t in read.options.get("tasks", "").strip("[]").split(",") if t] or None
    failed = False
    for source, place in places:
        done = predict_source(
            model,
            source,
            place,
            tasks=tasks,
            draw=lambda image, prediction: draw_prediction(image, prediction, score=lowest),
        )
        print(f"{done.images} images, {done.milliseconds:.1f} ms each: {printable(place)}")
        for note in done.notes:
            print(f"note: {printable(note)}")
        for line in done.failed:
            print(f"perception: {printable(line)}", file=sys.stderr)
        failed = failed or bool(done.failed)
    read.say_old(SYNTAX)
    return 1 if failed else 0


def printable(value: object) -> str:
    """Text for a terminal: bytes of a file name that are not UTF-8 become escapes."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def destinations(images: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """Each of IMAGES with the folder it is written to.

    One goes into `out` itself; of several, single images do, and every folder and video goes into
    a folder of its name.

    Raises:
        UsageError: two of them would be written to the same place.
    """
    from perception.inference.sources import VIDEO_SUFFIXES

    if len(images) == 1:
        return [(images[0], out)]
    taken: dict[str, Path] = {}
    places = []
    for path in images:
        film = path.suffix.lower() in VIDEO_SUFFIXES
        name = path.resolve().name if path.is_dir() else path.stem
        own = path.is_dir() or film
        if name in taken:
            raise UsageError(path, f"the name of {taken[name]}", "names that differ")
        taken[name] = path
        places.append((path, out / name if own else out))
    return places


def _score(options: dict[str, str]) -> float:
    try:
        value = float(options.get("score", "0.4"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError("score", options["score"], "a number in [0, 1]", "Use e.g. score=0.4.")
    return value


def _folder(run: Path) -> Path:
    """The folder of a run that was named itself or by a checkpoint in it."""
    return run.parent if run.is_file() else run
