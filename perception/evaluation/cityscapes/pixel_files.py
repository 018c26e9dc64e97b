"""Cityscapes pixel scores from files: `*_gtFine_labelIds.png` and one prediction per frame."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError, UsageError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.cityscapes import PIXEL, PixelEvaluator
from perception.evaluation.cityscapes.frames import (
    BESIDE,
    cityscapes_scheme,
    inventory,
    labelled_frames,
    photograph,
)
from perception.evaluation.cityscapes.protocol import CLASSES
from perception.evaluation.confusions import class_table, confusion_section, semantic_panels
from perception.evaluation.folders import one_per_frame, prediction_of
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, naming, read_ids, read_instances
from perception.evaluation.semantic import class_iou, nan_mean
from perception.evaluation.semantic.files import dense, sparse
from perception.files import files_below
from perception.labels import LabelScheme
from perception.report.parts import Panel

_HINT = "Predict label ids (road is 7, car 26), not train ids (road 0, car 13)."


@dataclass(frozen=True)
class PixelJob:
    """The three files of one frame."""

    key: str  # "aachen_000000_000019"
    target: Path
    predicted: Path
    instances: Path | None


@dataclass(frozen=True)
class CityscapesPixel(Benchmark[PixelJob, PixelEvaluator]):
    """IoU and iIoU over label ids."""

    instance_scores: bool = True
    gt_suffix: str = "_gtFine_labelIds.png"
    pred_suffix: str = ".png"

    task = "semantic"
    deep, beside = True, BESIDE

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--no-instances, --gt-suffix, --pred-suffix."""
        parser.add_argument(
            "--no-instances",
            dest="instance_scores",
            action="store_false",
            default=None,
            help="leave iIoU out (no instanceIds are read)",
        )
        parser.add_argument(
            "--gt-suffix",
            metavar="TEXT",
            help="end of the labels' names (default _gtFine_labelIds.png)",
        )
        parser.add_argument(
            "--pred-suffix", metavar="TEXT", help="end of the predictions' names (default .png)"
        )

    @cached_property
    def scheme(self) -> LabelScheme:
        """The official table."""
        return cityscapes_scheme()

    @property
    def protocol(self) -> Protocol:
        """The definition, with or without iIoU."""
        return Protocol(
            PIXEL.name, PIXEL.version, {**PIXEL.parameters, "instance_scores": self.instance_scores}
        )

    def jobs(self, target: Path, predicted: Path) -> list[PixelJob]:
        """Every labelled frame with its one prediction."""
        labels = labelled_frames(target, self.gt_suffix)
        found = one_per_frame(
            labels, self._predictions(predicted), folder=predicted, kind="prediction"
        )
        return [
            PixelJob(frame, label, found[frame], self._instances(label))
            for frame, label in labels.items()
        ]

    def _instances(self, label: Path) -> Path | None:
        if not self.instance_scores:
            return None
        if "labelIds" not in self.gt_suffix:
            raise UsageError(
                f"--gt-suffix {self.gt_suffix}",
                "no labelIds in it",
                "a name whose instance image is called instanceIds instead",
                "Leave iIoU out by --no-instances.",
            )
        suffix = self.gt_suffix.replace("labelIds", "instanceIds")
        return prediction_of(
            label.parent,
            label.name[: -len(self.gt_suffix)],
            suffix,
            for_=f"iIoU of {label.name}",
            do="Unpack the data set again, or leave iIoU out by --no-instances.",
        )

    def inventory(self, predicted: Path, jobs: Sequence[PixelJob]) -> str:
        """Matched, missing and extra files."""
        return inventory((job.key for job in jobs), self._predictions(predicted), predicted)

    def _predictions(self, folder: Path) -> Sequence[Path]:
        return files_below(folder, (self.pred_suffix.lower(),)).files

    def score_one(self, job: PixelJob) -> PixelEvaluator:
        """Counts of one frame."""
        target, predicted = read_ids(job.target), read_ids(job.predicted)
        check_size(job.predicted, predicted.shape, target.shape, f"the label {job.target.name}")
        instances = None if job.instances is None else read_instances(job.instances)
        if job.instances is not None and instances is not None:
            check_size(job.instances, instances.shape, target.shape, f"{job.target.name}")
        for path, ids in ((job.target, target), (job.predicted, predicted)):
            if ids.size and (highest := int(ids.max())) >= CLASSES:
                raise PerceptionError(
                    path, f"value {highest}", f"label ids 0..{CLASSES - 1}", _HINT
                )
        with naming(
            job.instances or job.target,
            "instance ids of Cityscapes",
            "Give this frame's own instanceIds.",
        ):
            return PixelEvaluator.zero(self.scheme).update(predicted, target, instances)

    def result(self, total: PixelEvaluator) -> Result:
        """IoU and iIoU of classes and categories."""
        self._refuse_train_ids(total.table)
        scores = total.compute()
        values = {
            "confusion": sparse(total.table),
            **vars(scores),
            **scores.means,
            "num_images": total.images,
        }
        names = {c.id: c.name for c in self.scheme.classes}
        kept = np.ones(CLASSES, bool)
        kept[[c.id for c in self.scheme.classes if c.ignore and c.id >= 0]] = False
        classes = {"IoU": scores.class_iou}
        categories = {"IoU": scores.category_iou}
        if self.instance_scores:
            classes["iIoU"] = scores.class_iiou
            categories["iIoU"] = scores.category_iiou
        section = confusion_section(total.table, tuple(names[i] for i in range(CLASSES)), kept)
        means = self._means(total)
        tables = (
            class_table("Classes", classes, {key: means[f"class {key}"] for key in classes}),
            class_table("Categories", categories, {k: means[f"category {k}"] for k in categories}),
        )
        return Result(self._means(total), values, tables, (section,))

    def _refuse_train_ids(self, table: NDArray[np.int64]) -> None:
        """Predictions in 0..18 alone, mostly on void ids, although labels have higher ones."""
        predicted, labelled = table.sum(0), table.sum(1)
        if predicted[19:].any() or not labelled[19:].any():
            return
        if 2 * predicted[:7].sum() > predicted.sum():
            raise PerceptionError(
                "predictions",
                "only ids 0..18, most of them void classes",
                "label ids",
                f"These look like train ids. {_HINT}",
            )

    def _means(self, total: PixelEvaluator) -> dict[str, float]:
        means = total.compute().means
        titles = {
            "mean_class_iou": "class IoU",
            "mean_class_iiou": "class iIoU",
            "mean_category_iou": "category IoU",
            "mean_category_iiou": "category iIoU",
        }
        return {
            title: means[key]
            for key, title in titles.items()
            if self.instance_scores or "iiou" not in key
        }

    def headline(self, total: PixelEvaluator) -> Mapping[str, float]:
        """The four means (two without instances)."""
        return self._means(total)

    def image_scores(self, record: PixelEvaluator) -> Mapping[str, float]:
        """Mean IoU over the classes of the image, and pixel accuracy."""
        kept = np.ones(CLASSES, bool)
        kept[[c.id for c in self.scheme.classes if c.ignore and c.id >= 0]] = False
        pixels = int(record.table[kept].sum())
        hit = int(record.table.diagonal()[kept].sum())
        return {
            "class IoU": nan_mean(class_iou(record.table, ~kept)),
            "pixel accuracy": hit / pixels if pixels else float("nan"),
            "instances": len(record.instances),
        }

    def encode(self, record: PixelEvaluator) -> Any:
        """Non-zero confusion and the rows of instances."""
        return {"confusion": sparse(record.table), "instances": record.instances.tolist()}

    def decode(self, value: Any) -> PixelEvaluator:
        """What `encode` gave."""
        rows = np.array(value["instances"], np.int64).reshape(-1, 4)
        return PixelEvaluator(self.scheme, dense(value["confusion"], CLASSES), rows, 1)

    def merge(self, records: Sequence[PixelEvaluator]) -> PixelEvaluator:
        """All frames at once."""
        return PixelEvaluator(
            self.scheme,
            np.sum([r.table for r in records], axis=0),
            np.concatenate([r.instances for r in records]),
            sum(r.images for r in records),
        )

    def resampler(
        self, records: Sequence[PixelEvaluator]
    ) -> Callable[[NDArray[np.int64]], Mapping[str, float]]:
        """Weighted sum of the confusions, repeated rows of instances."""
        stack = np.stack([record.table for record in records])
        rows = np.concatenate([record.instances for record in records])
        owner = np.repeat(np.arange(len(records)), [len(r.instances) for r in records])

        def headline(times: NDArray[np.int64]) -> Mapping[str, float]:
            table = np.tensordot(times, stack, 1)
            drawn = np.repeat(rows, times[owner], axis=0)
            return self.headline(PixelEvaluator(self.scheme, table, drawn))

        return headline

    def panels(self, job: PixelJob) -> tuple[Panel, ...]:
        """Image, label, prediction, errors."""
        return semantic_panels(
            self.scheme,
            read_ids(job.target),
            read_ids(job.predicted),
            photograph(job.target, self.gt_suffix),
        )
