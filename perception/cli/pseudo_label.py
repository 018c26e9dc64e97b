"""`perception pseudo-label OUT --data NAME --root DIR --teacher FILE`: boxes from a teacher."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perception.cli.teachers import open_teacher, teacher_facts
from perception.errors import UsageError

EPILOG = """
The teacher is a run of ours or an exported detector (.onnx; outputs as YOLOX, YOLOv5, YOLOv8 or
end-to-end). What it is sure of becomes a label, what it doubts an ignored region, the rest
background. True boxes of a data set are kept. OUT gets boxes/*.txt (KITTI's format), a record of
who made them, and a dataset.yaml to train with:

  perception pseudo-label teacher/camvid --data camvid --root data/camvid --split train \\
      --teacher yolox_nano.onnx --class car=car --class person=pedestrian --class bicycle=ignore
  perception train data=camvid data.sets.camvid.dataset=teacher/camvid/dataset.yaml \\
      data.sets.camvid.tasks=[semantic,road,boxes] \\
      "data.sets.camvid.val={dataset: camvid, split: val, tasks: [semantic, road]}"

--mask car=car makes the semantic labels a judge: a car box must lie on car pixels, and a car that
no box covers is ignored. Pseudo-labels are never the ground truth of an evaluation.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `perception pseudo-label`."""
    parser.epilog = EPILOG
    parser.add_argument("out", metavar="OUT", type=Path, help="a folder for the labels")
    parser.add_argument("--data", required=True, help="a packaged data set, or a dataset.yaml")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="its folder")
    parser.add_argument("--split", default="train", help="which frames (default: train)")
    parser.add_argument(
        "--teacher", type=Path, required=True, metavar="RUN|FILE.onnx", help="who labels"
    )
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="a class of the teacher and what it is called here, or `ignore`: neither right nor "
        "wrong; repeat it (default: all its classes by their own names)",
    )
    parser.add_argument(
        "--mask",
        dest="masks",
        action="append",
        default=[],
        metavar="OURS=SEMANTIC",
        help="boxes of that class must lie on pixels of that semantic class; repeat it",
    )
    parser.add_argument(
        "--tiles",
        type=int,
        default=0,
        metavar="N",
        help="look at N squares beside each other as well (wide pictures; default: 0)",
    )
    parser.add_argument(
        "--confident", type=float, default=0.5, help="scores from here on are labels (0.5)"
    )
    parser.add_argument(
        "--low", type=float, default=0.1, help="scores from here on are ignored regions (0.1)"
    )


def run(args: argparse.Namespace) -> int:
    """Labels every frame and prints what came of it."""
    from perception.annotation.pseudo import PseudoSettings
    from perception.data.datasets import open_dataset
    from perception.inference.teacher import label_dataset
    from perception.inference.tiles import Tiled
    from perception.progress import progress

    if not 0 <= args.low <= args.confident <= 1:
        raise UsageError(
            "--low, --confident", f"{args.low}, {args.confident}", "0 <= low <= confident <= 1"
        )
    classes = _pairs("--class", args.classes)
    masks: dict[str, list[str]] = {}
    for ours, semantic in _pairs("--mask", args.masks):
        masks.setdefault(ours, []).append(semantic)
    teacher = open_teacher(args.teacher, dict(classes) or None)
    if args.tiles:
        teacher = Tiled(teacher, args.tiles)
    tasks = ["semantic"] if masks else []
    dataset = open_dataset(args.data, args.root, args.split, tasks=tasks)
    record: dict[str, Any] = {
        **teacher_facts(args.teacher),
        "teacher_classes": dict(classes),
        "tiles": args.tiles,
        "split": args.split,
    }
    with progress("labelling", len(dataset)) as show:
        done = iter(range(1, len(dataset) + 1))
        counts = label_dataset(
            dataset,
            args.root,
            teacher,
            args.out,
            PseudoSettings(confident=args.confident, low=args.low),
            masks=masks,
            record=record,
            tick=lambda: show(next(done)),
        )
    print(
        f"{dataset.summary}: {counts.labels} boxes, {counts.ignored} doubtful (ignored), "
        f"{counts.off_mask} not on pixels of their class, {counts.uncovered} things of the true "
        f"masks without a box (ignored)"
    )
    print(f"train with data.sets.<name>.dataset={args.out / 'dataset.yaml'}")
    return 0


def _pairs(option: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """(left, right) of every `left=right`."""
    found = []
    for word in words:
        left, separator, right = (part.strip() for part in word.partition("="))
        if not (left and separator and right):
            raise UsageError(option, word, "two names with = between them")
        found.append((left, right))
    return found
