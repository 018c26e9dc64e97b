"""`perception prepare DATASET --root DIR`: is everything of a data set there, and whole?"""

from __future__ import annotations

import argparse
from pathlib import Path

from perception.cli.options import add_workers
from perception.files import packaged, write_json
from perception.progress import progress

_EXAMPLES = """examples:
  perception prepare camvid --root data/camvid
  perception prepare kitti_object --root data/kitti_object --split train --split val
  perception prepare my/dataset.yaml --root data/mine --json report.json

Images and labels are read whole. Frames that are not there are counted ("57 of 7481 frames"):
a part of a data set is legal. Exit code 1: something is damaged, or an image lacks its label.
"""
SHOWN = 20  # runs of absent frames of a split on the terminal; --json holds all of them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    known = sorted(p.parent.name for p in packaged("datasets").glob("*/dataset.yaml"))
    parser.epilog = f"data sets: {', '.join(known)}\n\n{_EXAMPLES}"
    parser.add_argument("dataset", help="a packaged data set, or the path of a dataset.yaml")
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="the folder of the data set"
    )
    parser.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME",
        help="only this split; may be repeated (default: all that are there)",
    )
    add_workers(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to a file")


def run(args: argparse.Namespace) -> int:
    """Verifies, prints what is missing or damaged, and a line that sums up."""
    from perception.formats.contents import in_words
    from perception.formats.manifest import load_manifest
    from perception.formats.verify import verify

    manifest = load_manifest(args.dataset)
    with progress("reading") as show:
        report = verify(manifest, args.root, args.split, workers=args.workers, progress=show)
    print(f"{manifest.title}: {args.root}")
    for split in report.splits:
        of = f" of {split.expected}" if split.expected is not None else ""
        print(f"  {split.name:<22} {split.found}{of} frames")
        if split.absent and split.found:
            print(f"    not there: {_shortened(split.absent)}")
        for task, counts in split.contents.items():
            print(f"    {task}: {in_words(counts, manifest.tasks[task].kind)}")
        for line in split.warnings:
            print(f"    warning: {line}")
        if split.left_out:
            kinds = ", ".join(f"{n} {s or 'without suffix'}" for s, n in split.left_out.items())
            print(f"    beside the images, not used: {kinds}")
    for line in report.damage:
        print(f"  damaged: {line}")
    print(f"{report.summary}, {len(report.damage) or 'nothing'} damaged")
    if args.json:
        write_json(
            args.json,
            {
                "dataset": manifest.name,
                "root": args.root,
                "frames": report.frames,
                "expected": report.expected,
                "damage": report.damage,
                "splits": {
                    s.name: {
                        "found": s.found,
                        "expected": s.expected,
                        "absent": s.absent,
                        "contents": s.contents,
                        "warnings": s.warnings,
                        "left_out": s.left_out,
                    }
                    for s in report.splits
                },
            },
        )
    return 1 if report.damage else 0


def _shortened(keys: tuple[str, ...]) -> str:
    """Runs of numbers as `um_000079-000094`; the first `SHOWN` runs."""
    runs: list[list[str]] = []
    for key in keys:
        if runs and _follows(runs[-1][-1], key):
            runs[-1].append(key)
        else:
            runs.append([key])
    texts = [r[0] if len(r) == 1 else f"{r[0]}-{_number(r[-1])}" for r in runs[:SHOWN]]
    more = sum(map(len, runs[SHOWN:]))
    return ", ".join(texts) + (f", ... {more} more (--json lists all)" if more else "")


def _follows(key: str, following: str) -> bool:
    """Whether both are one name with consecutive numbers of one length."""
    a, b = _number(key), _number(following)
    same = len(a) == len(b) and key[: -len(a) or None] == following[: -len(b) or None]
    return bool(a and b) and same and int(b) == int(a) + 1


def _number(key: str) -> str:
    """The digits that a key ends in."""
    return key[len(key.rstrip("0123456789")) :]
