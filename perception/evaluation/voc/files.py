"""Pascal VOC from files: XML annotations beside detections as text or as one JSON list."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError, UsageError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.folders import left_out
from perception.evaluation.protocol import Protocol
from perception.evaluation.voc import RULES, VocEvaluator, VocRecord, VocRules, as_text
from perception.evaluation.voc.result import (
    NOTE,
    image_counts,
    image_panels,
    voc_headline,
    voc_result,
)
from perception.files import files_in, find_image
from perception.formats.box_list import read_box_list
from perception.formats.voc import read_annotation, read_detections, read_image_set
from perception.report.parts import Panel


@dataclass(frozen=True)
class Detections:
    """N detections; corners are 1-based and inclusive."""

    names: tuple[str, ...]
    score: NDArray[np.float64]
    corners: NDArray[np.float64]  # (N, 4)
    order: NDArray[np.int64]  # place in the file they came from


@dataclass(frozen=True)
class VocJob:
    """One image: its annotation, and what was detected in it."""

    key: str
    target: Path
    predicted: Detections


@dataclass(frozen=True)
class Voc(Benchmark[VocJob, VocEvaluator]):
    """Boxes by the rules of Pascal VOC; the ground truth is a folder in VOC's layout."""

    classes: Sequence[str] | None = None  # None: those that have detections
    iou_threshold: float = 0.5
    image_set: str = "ImageSets/Main/test.txt"

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--classes, --iou-threshold, --image-set."""
        _common_arguments(parser)
        parser.add_argument(
            "--iou-threshold",
            type=float,
            metavar="T",
            help="a match overlaps by more than this (default 0.5)",
        )

    def __post_init__(self) -> None:
        if not 0 <= self.iou_threshold < 1:
            raise UsageError(
                "--iou-threshold",
                f"{self.iou_threshold:g}",
                "0 to 1, 0.5",
                "Overlap is a fraction, not a percentage.",
            )

    @property
    def rules(self) -> VocRules:
        """The protocol's rules with the chosen threshold."""
        return replace(RULES[self.name], thresholds=(float(self.iou_threshold),))

    @property
    def protocol(self) -> Protocol:
        """2007 or area."""
        return self.rules.protocol(self.classes or ("those with detections",))

    def jobs(self, target: Path, predicted: Path) -> list[VocJob]:
        """Every image of the image set."""
        images = sorted(read_image_set(target / self.image_set))
        numbers = {image: i for i, image in enumerate(images)}
        found, image = self.detections(predicted, numbers)
        order = np.argsort(image, kind="stable")
        ends = np.searchsorted(image[order], np.arange(len(images)), side="right").tolist()
        return [
            VocJob(key, target / "Annotations" / f"{key}.xml", _rows(found, order[start:end]))
            for key, start, end in zip(images, [0, *ends], ends, strict=False)
        ]

    def left_out(self, target: Path, predicted: Path, jobs: Sequence[VocJob]) -> str:  # noqa: ARG002
        """How many files beside the detections were not read."""
        if not predicted.is_dir():
            return ""
        files = class_files(predicted)
        used = {files[name] for name in self.classes or files if name in files}
        rest = left_out(predicted, used, below=False)
        return f"predictions: {rest}" if rest else ""

    def detections(
        self, predicted: Path, numbers: Mapping[str, int]
    ) -> tuple[Detections, NDArray[np.int64]]:
        """All detections, and the number of each one's image."""
        files = class_files(predicted)
        names = self.classes or list(files)
        if not names:
            raise PerceptionError(
                predicted,
                "no text file",
                "<class>.txt for every class",
                "Write the detections of each class into one file.",
            )
        parts = [
            read_detections(files.get(name, predicted / f"{name}.txt"), numbers) for name in names
        ]
        return Detections(
            tuple(name for name, part in zip(names, parts, strict=True) for _ in part.images),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.corners for part in parts]),
            np.concatenate([np.arange(len(part.images)) for part in parts]),
        ), np.array([numbers[image] for part in parts for image in part.images], np.int64)

    def score_one(self, job: VocJob) -> VocEvaluator:
        """The evaluator after one image."""
        objects, found = read_annotation(job.target), job.predicted
        return self._one(
            VocRecord(
                job.key,
                objects.names,
                objects.corners,
                objects.difficult,
                found.names,
                found.score,
                found.corners,
                found.order,
            )
        )

    def merge(self, records: Sequence[VocEvaluator]) -> VocEvaluator:
        """All images in one step; classes are the chosen ones, or those that were detected."""
        all_records = tuple(image for record in records for image in record.records)
        classes = self.classes or sorted({name for one in all_records for name in one.names})
        return VocEvaluator(self.rules, tuple(classes), all_records)

    def result(self, total: VocEvaluator) -> Result:
        """AP of every class, and their mean."""
        return voc_result(total)

    def headline(self, total: VocEvaluator) -> Mapping[str, float]:
        """AP of every class, and their mean."""
        return voc_headline(total.rules, total.compute())

    def resampler(
        self, records: Sequence[VocEvaluator]
    ) -> Callable[[NDArray[np.int64]], Mapping[str, float]]:
        """Matches once, and afterwards only weights the outcomes."""
        total = self.merge(records)
        matched = total.matched()
        order = np.argsort([record.records[0].key for record in records], kind="stable")
        return lambda times: voc_headline(total.rules, matched.scores(times[order]))

    image_note = NOTE

    def image_scores(self, record: VocEvaluator) -> Mapping[str, float]:
        """F1 and counts of one image alone."""
        return self.each_image([record])[0]

    def each_image(self, records: Sequence[VocEvaluator]) -> Sequence[Mapping[str, float]]:
        """F1 and counts of every image, at the score where each class has its best F1."""
        return image_counts(self.merge(records), [record.records[0].key for record in records])

    def panels_of(
        self, jobs: Sequence[VocJob], records: Sequence[VocEvaluator], chosen: Sequence[int]
    ) -> list[tuple[Panel, ...]]:
        """The chosen images of `JPEGImages` with their boxes."""
        wanted = [
            (jobs[i].key, find_image(jobs[i].target.parent.parent / "JPEGImages", jobs[i].key))
            for i in chosen
        ]
        return image_panels(self.merge(records), wanted)

    def encode(self, record: VocEvaluator) -> Any:
        """Columns of objects and detections."""
        (image,) = record.records
        return dict(vars(image))

    def decode(self, value: Any) -> VocEvaluator:
        """What `encode` gave."""
        floats = {n: np.array(value[n], np.float64) for n in ("score", "target_corners", "corners")}
        return self._one(
            VocRecord(
                value["key"],
                tuple(value["target_names"]),
                floats["target_corners"].reshape(-1, 4),
                np.array(value["difficult"], bool),
                tuple(value["names"]),
                floats["score"],
                floats["corners"].reshape(-1, 4),
                np.array(value["order"], np.int64),
            )
        )

    def _one(self, image: VocRecord) -> VocEvaluator:
        return VocEvaluator(self.rules, tuple(self.classes or ()), (image,))


@dataclass(frozen=True)
class CocoStyle(Voc):
    """Mean over ten overlap thresholds; `--pred` is one JSON list."""

    metric: Literal["2007", "area"] = "2007"

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--classes, --image-set, --metric."""
        _common_arguments(parser)
        parser.add_argument(
            "--metric", choices=("2007", "area"), help="11 recall steps (default), or the area"
        )

    @property
    def rules(self) -> VocRules:
        """Ten thresholds, with the chosen rule."""
        return replace(RULES[self.name], rule=self.metric)

    def detections(
        self, predicted: Path, numbers: Mapping[str, int]
    ) -> tuple[Detections, NDArray[np.int64]]:
        """All detections as the protocol writes and reads them again."""
        found = read_box_list(predicted, numbers)
        corners, score = as_text(found.xyxy, found.score)
        order = np.arange(len(score))
        image = np.array([numbers[image] for image in found.images], np.int64)
        return Detections(found.names, score, corners, order), image


def class_files(folder: Path) -> dict[str, Path]:
    """The detections of each class: `car.txt`, or the kit's name `comp4_det_val_car.txt`.

    Raises:
        PerceptionError: two files of one class.
    """
    files: dict[str, Path] = {}
    for path in files_in(folder, (".txt",)).files:
        official = re.fullmatch(r"comp\d+_det_.+_([^_]+)", path.stem)
        kind = official[1] if official else path.stem
        if kind in files:
            raise PerceptionError(path, f"a second file of {kind}", f"only {files[kind].name}")
        files[kind] = path
    return files


def _common_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="default: those that were detected"
    )
    parser.add_argument(
        "--image-set",
        metavar="FILE",
        help="list of images below --gt, default ImageSets/Main/test.txt",
    )


def _rows(found: Detections, rows: NDArray[np.int64]) -> Detections:
    names = tuple(found.names[i] for i in rows)
    return Detections(names, found.score[rows], found.corners[rows], found.order[rows])
