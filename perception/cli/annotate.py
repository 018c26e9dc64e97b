"""`perception annotate DIR`: labelme with our labels, flags and colours; pre-labelling."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from perception.errors import PerceptionError, UsageError

SCHEMES = ("all", "kitti_road", "kitti_object", "cityscapes")
INSTALL = (
    "Install it in an environment of its own: pipx install labelme==6.3.1 (or uv tool install "
    "labelme==6.3.1; Python 3.12 and later: labelme without a version), or give --labelme PATH."
)
EPILOG = """
labelme is a program of its own (GPL, Qt) and not installed with this package:

  pipx install labelme==6.3.1         # or: uv tool install labelme==6.3.1
  perception annotate photos/ --scheme kitti_road
  perception annotate photos/ --pre-label runs/demo/last-run     # correct instead of draw
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `perception annotate`."""
    parser.epilog = EPILOG
    parser.add_argument("dir", metavar="DIR", type=Path, help="folder of images")
    parser.add_argument(
        "--scheme", choices=SCHEMES, default="all", help="which labels are offered (default: all)"
    )
    parser.add_argument("--labelme", metavar="PATH", help="the program (default: labelme in PATH)")
    parser.add_argument(
        "--print", action="store_true", help="print the command line instead of starting labelme"
    )
    group = parser.add_argument_group("pre-labelling")
    group.add_argument(
        "--pre-label",
        metavar="RUN",
        type=Path,
        help="write the predictions of a trained run as <image>.json first; images that have one "
        "are left alone",
    )
    group.add_argument("--score", type=float, default=0.5, help="lowest score (default: 0.5)")
    group.add_argument(
        "--tolerance",
        type=float,
        default=1.5,
        help="pixels a simplified outline may be away (default: 1.5)",
    )


def run(args: argparse.Namespace) -> int:
    """Pre-labels if asked, then starts labelme; its exit code decides between 0 and 1."""
    from perception.annotation.label_files import labelme_words

    if not args.dir.is_dir():
        raise UsageError(args.dir, "no such folder", "a folder of images", "Check the path.")
    program = args.labelme or "labelme"
    words = labelme_words(program, args.dir.resolve(), args.scheme)
    if not args.print:
        words[0] = _find(program)
    if args.pre_label is not None:
        _pre_label(args)
    if args.print:
        print(shlex.join(words))
        return 0
    return 1 if subprocess.run(words, env=_environment(), check=False).returncode else 0


def _find(program: str) -> str:
    """The program's path, once it has told its version."""
    path = shutil.which(program)
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


def _pre_label(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from perception.annotation.classes import default_table
    from perception.annotation.images import decode_image, read_file
    from perception.annotation.label_files import label_names
    from perception.annotation.prelabel import PrelabelSettings, prelabel
    from perception.experiments.load import load
    from perception.files import IMAGE_SUFFIXES, atomic_open
    from perception.formats.labelme import document, encode

    model = load(args.pre_label)
    names = [default_table().resolve(name) for name in label_names(args.scheme)]
    wanted = frozenset(found.meaning.name for found in names if found)
    settings = PrelabelSettings(tolerance=args.tolerance, score=args.score, labels=wanted)
    images = [p for p in sorted(args.dir.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    todo = [path for path in images if not path.with_suffix(".json").exists()]
    shapes = small = 0
    console = Console(stderr=True)
    for path in track(todo, "pre-labelling", console=console, disable=not console.is_terminal):
        image, _ = decode_image(read_file(path))  # upright, as labelme shows it
        prediction = model.predict(image.read(), key=path.stem)
        found, dropped = prelabel(prediction, settings)
        content = document(found, path.name, prediction.size)
        with atomic_open(path.with_suffix(".json")) as file:
            file.write(encode(content))
        shapes += len(found)
        small += dropped
    print(
        f"{len(todo)} of {len(images)} images pre-labelled, {shapes} shapes; {small} regions below "
        f"{settings.smallest} pixels left out; {len(images) - len(todo)} had labels",
        file=sys.stderr,
    )
