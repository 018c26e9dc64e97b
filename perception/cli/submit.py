"""`perception submit kitti_road`: the archive for the benchmark's server, and its checker."""

from __future__ import annotations

import argparse
from pathlib import Path

from perception.errors import UsageError
from perception.evaluation.kitti_road.submission import (
    Submission,
    check_submission,
    find_maps,
    write_submission,
)
from perception.progress import progress

_EXAMPLES = """examples:
  perception submit kitti_road road.zip --pred maps --calib data_road/testing/calib
  perception submit kitti_road --check road.zip

Maps are confidences in the image, named like the images of the testing part (um_000000.png) or
like the result (um_road_000000.png, um_lane_000000.png): 8 or 16 bit grey, or .npy probabilities.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Either --pred, --calib and the archive, or --check."""
    parser.epilog = _EXAMPLES
    parser.add_argument("benchmark", choices=("kitti_road",), help="the server")
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT.zip", help="archive to write")
    parser.add_argument("--pred", type=Path, metavar="DIR", help="confidence maps in the image")
    parser.add_argument("--calib", type=Path, metavar="DIR", help="calib of the testing part")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="OUT.zip",
        help="say what the server would refuse in an archive; write nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Writes and checks, or only checks; 1 if the server would refuse."""
    if args.check is not None:
        if args.out or args.pred or args.calib:
            raise UsageError(
                "--check",
                "other options beside it",
                "it alone",
                "Write the archive first, then check it.",
            )
        return _tell(args.check, check_submission(args.check))
    if not (args.out and args.pred and args.calib):
        raise UsageError(
            "submit kitti_road",
            "not all of --pred, --calib and OUT.zip",
            "OUT.zip --pred DIR --calib DIR, or --check OUT.zip",
            "See `perception submit --help`.",
        )
    return _tell(args.out, _write(args))


def _write(args: argparse.Namespace) -> Submission:
    find_maps(args.pred)  # before the bar appears
    with progress("bird's-eye view") as show:
        return write_submission(args.pred, args.calib, args.out, advance=show)


def _tell(path: Path, submission: Submission) -> int:
    counts = ", ".join(f"{category} {n}" for category, n in submission.maps.items())
    print(f"{path}: {counts or 'nothing'}")
    for note in submission.notes:
        print(f"note: {note}")
    for problem in submission.problems[:20]:
        print(f"refused: {problem}")
    if len(submission.problems) > 20:
        print(f"refused: {len(submission.problems) - 20} more")
    if not submission.problems:
        print(
            "The archive passes the server's checks: file names, number and size of the maps, "
            "8-bit grey, no subfolders."
        )
    return 1 if submission.problems else 0
