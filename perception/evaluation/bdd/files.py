"""Drivable area and lanes from files: grey label masks beside class-index predictions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError, UsageError
from perception.evaluation.bdd import DRIVABLE, LANE, MaskEvaluator, MaskScores, foreground
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.confusions import confusion_section
from perception.evaluation.folders import labels_of, prediction_of
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, naming, read_ids
from perception.report.parts import Column, Panel, Table


@dataclass(frozen=True)
class MaskJob:
    """A label mask and its prediction."""

    key: str
    target: Path
    predicted: Path
    position: int  # in the order that makes the batches


@dataclass(frozen=True)
class BddMasks(Benchmark[MaskJob, MaskEvaluator]):
    """Scores averaged over batches, as the papers do, and pooled."""

    batch_size: int = 24
    num_classes: int = 2
    gt_threshold: int = 1  # label values above it are foreground
    pad: Sequence[int] = (0, 0)  # rows, columns cut from each side
    frames: Sequence[str] | None = None  # names without suffix, in this order
    line_width: float | None = None  # pixels, of the lane labels; recorded with the score

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--batch-size, --pad, --gt-threshold, --num-classes, --line-width, --frames."""
        parser.add_argument(
            "--batch-size",
            type=int,
            metavar="N",
            help="of the papers' mean over batches (default 24)",
        )
        parser.add_argument(
            "--pad",
            nargs=2,
            type=int,
            metavar=("ROWS", "COLUMNS"),
            help="cut from each side before counting (YOLOP: 12 0)",
        )
        parser.add_argument(
            "--gt-threshold",
            type=int,
            metavar="V",
            help="label values above it are foreground (default 1)",
        )
        parser.add_argument("--num-classes", type=int, metavar="N", help="default 2")
        parser.add_argument(
            "--line-width",
            type=float,
            metavar="PIXELS",
            help="width of the lane labels, written beside the score",
        )
        parser.add_argument("--frames", nargs="+", metavar="NAME", help="only these, in this order")

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_classes < 2 or min(self.pad) < 0:
            raise UsageError(
                "batch-size, num-classes, pad",
                f"{self.batch_size}, {self.num_classes}, {tuple(self.pad)}",
                "at least 1, at least 2, not negative",
            )

    @property
    def definition(self) -> Protocol:
        """Drivable area or lane, as the evaluator knows it."""
        return LANE if self.name == LANE.name else DRIVABLE

    @property
    def protocol(self) -> Protocol:
        """The definition with everything that changes the number."""
        base = self.definition
        parameters = {
            **base.parameters,
            "batch_size": self.batch_size,
            "classes": self.num_classes,
            "foreground": f"> {self.gt_threshold}",
            "cut": list(self.pad),
        }
        if base is LANE:
            parameters["line_width"] = self.line_width or "not given"
        return Protocol(base.name, base.version, parameters)

    def jobs(self, target: Path, predicted: Path) -> list[MaskJob]:
        """Every label mask (or the chosen frames), in order."""
        do = "Give the folder of the label masks."
        keys = self.frames or labels_of(target, ".png", below=False, do=do)
        return [
            MaskJob(
                key,
                prediction_of(target, key, ".png", for_=f"frame {key}", do="Check --frames."),
                prediction_of(
                    predicted, key, ".png", for_=f"the label {key}", do="Predict this frame too."
                ),
                position,
            )
            for position, key in enumerate(keys)
        ]

    def score_one(self, job: MaskJob) -> MaskEvaluator:
        """Confusion of one image."""
        target, predicted = self._read(job)
        empty = MaskEvaluator(self.definition, self.num_classes, self.batch_size)
        with naming(
            job.predicted,
            f"class indices 0..{self.num_classes - 1}",
            "Store the index of the class, not a grey value.",
        ):
            return empty.update(predicted, target, position=job.position)

    def _read(self, job: MaskJob) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        target, predicted = (read_ids(path) for path in (job.target, job.predicted))
        check_size(job.predicted, predicted.shape, target.shape, f"the label {job.target.name}")
        rows, columns = self.pad
        if 2 * rows >= target.shape[0] or 2 * columns >= target.shape[1]:
            raise PerceptionError(
                job.target,
                f"{target.shape[1]}x{target.shape[0]} pixels",
                f"more than the cut of {tuple(self.pad)} on each side",
                "Correct --pad (rows, columns).",
            )
        with naming(
            job.target,
            "grey values with foreground above the threshold",
            "Multiply the mask by 255, or set --gt-threshold 0.",
        ):
            target = foreground(target, self.gt_threshold)
        cut = (slice(rows, target.shape[0] - rows), slice(columns, target.shape[1] - columns))
        return target[cut], predicted[cut]

    def result(self, total: MaskEvaluator) -> Result:
        """Both ways of averaging."""
        scores = total.compute()
        values = {
            **_values(scores.batched),
            "pooled": _values(scores.pooled),
            "confusion": scores.confusion.tolist(),
            "num_images": len(total.images),
            "line_width": self.line_width,
        }
        names = ("background", *(f"class {i}" for i in range(1, self.num_classes)))
        if self.num_classes == 2:
            names = ("background", "lane" if self.definition is LANE else "drivable")
        notes = [
            "Papers quote the mean over batches; it changes with batch size and order. "
            "The pooled scores do not."
        ]
        return Result(
            self.headline(total),
            values,
            (_table(scores.batched, scores.pooled, self.batch_size),),
            (confusion_section(scores.confusion, names, np.ones(len(names), bool)),),
            tuple(notes),
        )

    def headline(self, total: MaskEvaluator) -> Mapping[str, float]:
        """IoU and accuracy, both ways."""
        scores = total.compute()
        return {
            f"{name} ({way})": getattr(one, key)
            for way, one in (("batches", scores.batched), ("pooled", scores.pooled))
            for name, key in (("accuracy", "acc"), ("IoU", "iou"), ("mIoU", "miou"))
        }

    def image_scores(self, record: MaskEvaluator) -> Mapping[str, float]:
        """The same formulas on one image."""
        scores = record.compute().pooled
        return {"IoU": scores.iou, "mIoU": scores.miou, "accuracy": scores.acc}

    def encode(self, record: MaskEvaluator) -> Any:
        """Position and confusion."""
        ((position, table),) = record.images
        return [position, table.tolist()]

    def decode(self, value: Any) -> MaskEvaluator:
        """What `encode` gave."""
        table = np.array(value[1], np.int64).reshape(self.num_classes, self.num_classes)
        return MaskEvaluator(
            self.definition, self.num_classes, self.batch_size, ((int(value[0]), table),)
        )

    def resampler(
        self, records: Sequence[MaskEvaluator]
    ) -> Callable[[NDArray[np.int64]], Mapping[str, float]]:
        """Drawn images in the order of the whole set."""

        def headline(times: NDArray[np.int64]) -> Mapping[str, float]:
            images = tuple(
                record.images[0] for record, n in zip(records, times, strict=True) for _ in range(n)
            )
            empty = MaskEvaluator(self.definition, self.num_classes, self.batch_size, images)
            return self.headline(empty)

        return headline

    def merge(self, records: Sequence[MaskEvaluator]) -> MaskEvaluator:
        """All images at once."""
        images = tuple(image for record in records for image in record.images)
        return MaskEvaluator(self.definition, self.num_classes, self.batch_size, images)

    def panels(self, job: MaskJob) -> tuple[Panel, ...]:
        """Label, prediction, errors."""
        target, predicted = (mask > 0 for mask in self._read(job))
        errors = np.full((*target.shape, 3), 235, np.uint8)
        errors[target & predicted] = (120, 170, 130)
        errors[target & ~predicted] = (37, 99, 235)
        errors[~target & predicted] = (220, 38, 38)
        shown = [np.repeat((mask * np.uint8(255))[..., None], 3, 2) for mask in (target, predicted)]
        return (
            Panel("label", shown[0], sharp=True),
            Panel("prediction", shown[1], sharp=True),
            Panel("hit green, missed blue, too much red", errors, sharp=True),
        )


def _values(scores: MaskScores) -> dict[str, float]:
    return {
        "acc": scores.acc,
        "iou": scores.iou,
        "miou": scores.miou,
        "balanced_acc": scores.balanced_acc,
    }


def _table(batched: MaskScores, pooled: MaskScores, batch_size: int) -> Table:
    columns = (
        Column("", "text"),
        Column("accuracy"),
        Column("IoU"),
        Column("mIoU"),
        Column("mean recall", hint="called accuracy in other papers' lane tables"),
    )
    rows = tuple(
        (name, one.acc, one.iou, one.miou, one.balanced_acc)
        for name, one in ((f"mean over batches of {batch_size}", batched), ("pooled", pooled))
    )
    return Table(columns, rows)
