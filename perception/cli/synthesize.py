"""`perception synthesize`: renders street scenes with labels in four formats."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from perception.cli.options import add_workers
from perception.errors import UsageError
from perception.progress import progress

EPILOG = """
Every frame is a street of its own: road with markings, kerbs and sidewalks, buildings, trees,
signs, parked and driving vehicles, pedestrians and cyclists. Below OUT:

  kitti_road/training/{image_2,gt_image_2,calib}     road and ego lane, categories um, umm, uu
  kitti_object/training/{image_2,label_2,calib}      2D and 3D boxes
  cityscapes/{leftImg8bit,gtFine}/{train,val}        polygons, labelIds, instanceIds
  labelme/{train,val}                                the same polygons for labelme

The pictures are hard links to one file. Frame i depends only on the seed and i, whatever the
number of workers. A second call with the same settings finds its frames and does nothing.

example:
  perception synthesize streets --frames 400 --val-frames 60 --seed 0 --size 416x128
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.epilog = EPILOG
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write into")
    parser.add_argument(
        "--frames", type=int, default=100, metavar="N", help="number of frames in all (default 100)"
    )
    parser.add_argument(
        "--val-frames",
        type=int,
        metavar="N",
        help="how many of them, the last ones, are for validation (default: a fifth)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="another seed is another set of streets (default 0)",
    )
    parser.add_argument(
        "--size",
        default="1242x375",
        metavar="WxH",
        help="picture size; the field of view stays KITTI's (default 1242x375)",
    )
    add_workers(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the frames of an earlier run in OUT"
    )


def run(args: argparse.Namespace) -> int:
    """Makes the frames and says what was made."""
    from perception.synthesis.dataset import Request, synthesize

    width, height = _size(args.size)
    val = args.frames // 5 if args.val_frames is None else args.val_frames
    _at_least("--frames", args.frames, 1)
    _at_least("--seed", args.seed, 0)
    _at_least("--val-frames", val, 0)
    if val > args.frames:
        raise UsageError(
            "--val-frames",
            str(val),
            f"at most --frames, {args.frames}",
            "They are part of the frames; ask for more frames.",
        )
    request = Request(args.frames, val, args.seed, width, height)
    started = time.perf_counter()
    with progress("frames", args.frames) as show:
        made = synthesize(
            args.out, request, workers=args.workers, overwrite=args.overwrite, progress=show
        )
    seconds = time.perf_counter() - started
    if made.already_there:
        print(f"{args.out}: {args.frames} frames of these settings are there already")
    else:
        rate = f"{seconds:.1f} s ({args.frames / seconds:.1f} frames/s)"
        print(
            f"{args.out}: {made.train} training and {made.val} validation frames of "
            f"{width}x{height} in {rate}"
        )
    return 0


def _size(text: str) -> tuple[int, int]:
    """Width and height from "1242x375"."""
    words = text.lower().split("x")
    if len(words) != 2 or not all(w.isdecimal() for w in words):
        raise UsageError("--size", text, "WIDTHxHEIGHT", "E.g. --size 1242x375.")
    width, height = int(words[0]), int(words[1])
    if not (64 <= width <= 8192 and 32 <= height <= 8192):
        raise UsageError("--size", text, "64x32 to 8192x8192 pixels", "Choose another size.")
    return width, height


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(option, str(value), f"at least {least}", "Give a larger number.")
