"""`perception annotate DIR`: labelme with our labels, flags and colours; pre-labelling."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from perception.errors import PerceptionError, UsageError
from perception.formats.problems import RefusedError
from perception.progress import tracked

if TYPE_CHECKING:
    from perception.annotation.prelabel import PrelabelSettings
    from perception.inference.tiles import Predictor

SCHEMES = ("all", "kitti_road", "kitti_object", "cityscapes")
INSTALL = (
    "Install it in an environment of its own: pipx install labelme==6.3.1 (or uv tool install "
    "labelme==6.3.1; Python 3.12 and later: labelme without a version), or give --labelme PATH."
)
EPILOG = """
labelme is a program of its own (GPL, Qt) and not installed with this package:

  pipx install labelme==6.3.1         # or: uv tool install labelme==6.3.1
  perception annotate photos/ --scheme kitti_road
  perception annotate photos/ --classes road,tuk-tuk,person     # classes of your own
  perception annotate photos/ --pre-label RUN         # RUN: folder of a training; correct, not draw
  perception annotate photos/ --pre-label yolox_nano.onnx --score 0.3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `perception annotate`."""
    parser.epilog = EPILOG
    parser.add_argument("dir", metavar="DIR", type=Path, help="folder of images")
    parser.add_argument(
        "--scheme", choices=SCHEMES, default="all", help="which labels are offered (default: all)"
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="offer your own classes instead: road,car, a .txt file with one name per line, or a "
        "dataset.yaml",
    )
    parser.add_argument("--labelme", metavar="PATH", help="the program (default: labelme in PATH)")
    parser.add_argument(
        "--print", action="store_true", help="print the command line instead of starting labelme"
    )
    group = parser.add_argument_group("pre-labelling")
    group.add_argument(
        "--pre-label",
        metavar="RUN|FILE.onnx",
        type=Path,
        help="first write the predictions of a trained run, or the boxes of an exported detector, "
        "as <image>.json; images that already have one are skipped",
    )
    group.add_argument(
        "--score", type=float, default=0.5, help="lowest score of a box (default: 0.5)"
    )
    group.add_argument(
        "--tolerance",
        type=float,
        default=1.5,
        help="largest distance, in pixels, between the simplified and the exact outline "
        "(default: 1.5)",
    )


def run(args: argparse.Namespace) -> int:
    """Pre-labels if asked, then starts labelme; its exit code decides between 0 and 1."""
    from perception.annotation.label_files import labelme_words
    from perception.annotation.own_classes import class_names

    if not args.dir.is_dir():
        raise UsageError(args.dir, "no such folder")
    if not 0 <= args.score <= 1:
        raise UsageError("--score", f"{args.score}", "0 to 1")
    if not 0 <= args.tolerance < math.inf:
        raise UsageError("--tolerance", f"{args.tolerance}", "0 or more pixels")
    classes = () if args.classes is None else class_names(args.classes)
    program = args.labelme or "labelme"
    words = labelme_words(program, args.dir.resolve(), args.scheme, classes)
    if not args.print:
        words[0] = _find(program)
    failed = args.pre_label is not None and _pre_label(args, classes)
    if args.print:
        print(shlex.join(words))
        return int(failed)
    return 1 if subprocess.run(words, env=_environment(), check=False).returncode else int(failed)


def _find(program: str) -> str:
    """The program's path, once it has told its version."""
    path = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if path is None:
        raise PerceptionError(program, "no such program", "labelme", INSTALL)
    try:
        asked = subprocess.run(
            [path, "--version"],
            env=_environment() | {"QT_QPA_PLATFORM": "offscreen"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PerceptionError(path, str(error)[:200], "a program that starts", INSTALL) from None
    if asked.returncode or "labelme" not in asked.stdout.lower():
        lines = (asked.stderr or asked.stdout).strip().splitlines() or ["no output"]
        raise PerceptionError(path, lines[-1][:200], "labelme --version to answer", INSTALL)
    print(asked.stdout.strip(), file=sys.stderr)
    return path


def _environment() -> dict[str, str]:
    """Ours, without what `import cv2` and this project's own path would do to another Qt."""
    taken = {"QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR", "PYTHONPATH"}
    return {name: value for name, value in os.environ.items() if name not in taken}


def _pre_label(args: argparse.Namespace, classes: tuple[str, ...]) -> bool:
    """Writes an annotation for every image without one; True where an image could not be read."""
    from perception.cli.teachers import open_teacher, teacher_facts
    from perception.files.finding import IMAGE_SUFFIXES, files_below

    settings = _prelabel_settings(args, classes)
    model, made_by = open_teacher(args.pre_label), teacher_facts(args.pre_label)
    images = files_below(args.dir, IMAGE_SUFFIXES).files
    todo = [path for path in images if not path.with_suffix(".json").exists()]
    shapes = small = 0
    failed = []
    for path in tracked(todo, len(todo), title="pre-labelling"):
        try:
            found, dropped = _pre_label_image(path, model, settings, made_by)
        except RefusedError as error:
            failed.append(f"{path}: {error.problem.detail}")
            continue
        shapes += found
        small += dropped
    print(
        f"{len(todo) - len(failed)} of {len(images)} images pre-labelled, {shapes} shapes; {small} "
        f"regions below {settings.smallest} pixels left out; {len(images) - len(todo)} had labels",
        file=sys.stderr,
    )
    for line in failed:
        print(f"perception: {line}", file=sys.stderr)
    return bool(failed)


def _prelabel_settings(args: argparse.Namespace, classes: tuple[str, ...]) -> PrelabelSettings:
    from perception.annotation.classes import default_table
    from perception.annotation.label_files import label_names
    from perception.annotation.own_classes import own_table
    from perception.annotation.prelabel import PrelabelSettings

    table = default_table()
    names: tuple[str, ...] = label_names(args.scheme)
    if classes:
        table, names = own_table(classes, table, only=True), classes
    resolved = [table.resolve(name) for name in names]
    wanted = frozenset(found.meaning.name for found in resolved if found)
    return PrelabelSettings(
        tolerance=args.tolerance, score=args.score, labels=wanted, table=table if classes else None
    )


def _pre_label_image(
    path: Path, model: Predictor, settings: PrelabelSettings, made_by: Mapping[str, str]
) -> tuple[int, int]:
    """Shapes written and regions that were too small."""
    from perception.annotation.images import decode_image, read_file
    from perception.annotation.prelabel import prelabel
    from perception.files import atomic_open
    from perception.formats.labelme import document, encode

    image, _ = decode_image(read_file(path))  # upright, as labelme shows it
    prediction = model.predict(image.read(), key=path.stem)
    found, dropped = prelabel(prediction, settings)
    content = document(found, path.name, prediction.size)
    content.content["preLabel"] = {**made_by, "score": settings.score}  # labelme keeps it
    with atomic_open(path.with_suffix(".json")) as file:
        file.write(encode(content))
    return len(found), dropped
