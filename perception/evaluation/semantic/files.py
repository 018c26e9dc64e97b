"""Pixel IoU of any label scheme from files: `<name>.png` beside predictions of the same name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.confusions import class_table, confusion_section, semantic_panels
from perception.evaluation.folders import labels_of, prediction_of
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, read_ids
from perception.evaluation.semantic import PIXEL, Confusion, class_iou, nan_mean
from perception.files import find_image, read_image
from perception.labels import IGNORE_INDEX, LabelMap, LabelScheme, load_map, load_scheme
from perception.report.parts import Panel

Ids = Literal["label", "train"]


@dataclass(frozen=True)
class SemanticJob:
    """A label image and its prediction."""

    key: str  # path below the folder, without suffix
    target: Path
    predicted: Path


@dataclass(frozen=True)
class Semantic(Benchmark[SemanticJob, Confusion]):
    """Confusion of train ids, pooled over all images."""

    scheme: str = ""
    merge_by: str | None = None  # a merge of classes (`datasets/merges`) scored instead
    gt_ids: Ids = "label"
    pred_ids: Ids = "label"
    gt_suffix: str = ".png"
    pred_suffix: str = ".png"
    images: str | Path | None = None  # photographs of the same names, for the page

    task, deep = "semantic", True

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--scheme, --merge, --gt-ids, --pred-ids, --gt-suffix, --pred-suffix."""
        parser.add_argument(
            "--scheme",
            required=True,
            metavar="NAME",
            help="label table: camvid, cityscapes, ... or a dataset.yaml",
        )
        parser.add_argument(
            "--merge",
            dest="merge_by",
            metavar="NAME",
            help="score merged classes: a name or file of datasets/merges",
        )
        parser.add_argument(
            "--images",
            type=Path,
            metavar="DIR",
            help="photographs of the same names, shown on the page",
        )
        for side in ("gt", "pred"):
            parser.add_argument(
                f"--{side}-ids",
                choices=("label", "train"),
                help="what the pixels store: label ids (default) or train ids",
            )
            parser.add_argument(
                f"--{side}-suffix", metavar="TEXT", help="end of the file names (default .png)"
            )

    @cached_property
    def labels(self) -> LabelScheme:
        """The table that the files are written in."""
        return load_scheme(self.scheme)

    @cached_property
    def merging(self) -> LabelMap | None:
        """The merge of classes, if any."""
        return load_map(self.labels, self.merge_by) if self.merge_by else None

    @property
    def scored(self) -> LabelScheme:
        """The table that is scored: the files' own or the merged one."""
        return self.labels if self.merging is None else self.merging.target

    @property
    def protocol(self) -> Protocol:
        """The definition, with the classes by name."""
        return Protocol(
            PIXEL.name,
            PIXEL.version,
            {
                **PIXEL.parameters,
                "scheme": self.labels.name,
                "merge": self.merge_by,
                "classes": list(self.scored.names),
            },
        )

    def jobs(self, target: Path, predicted: Path) -> list[SemanticJob]:
        """Every label below the folder; predictions have the same path and name."""
        do = "Give the folder of the labels, or --gt-suffix."
        labels = labels_of(target, self.gt_suffix, below=True, do=do)
        do = "Predict this image, or give --pred-suffix."
        return [
            SemanticJob(
                key,
                path,
                prediction_of(
                    predicted, key, self.pred_suffix, for_=f"the label {path.name}", do=do
                ),
            )
            for key, path in labels.items()
        ]

    def score_one(self, job: SemanticJob) -> Confusion:
        """Confusion of one image; its last class is "not scored": no row, but a column."""
        target, predicted = self._read(job)
        classes = len(self.scored.trained)
        target, predicted = (np.minimum(ids, classes) for ids in (target, predicted))
        return Confusion.zero(classes + 1).update(predicted, target, ignore_index=classes)

    def _read(self, job: SemanticJob) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Train ids of both under the scored table, 255 where not scored."""
        target, predicted = read_ids(job.target), read_ids(job.predicted)
        check_size(job.predicted, predicted.shape, target.shape, f"the label {job.target.name}")
        target = self._train_ids(job.target, target, self.gt_ids)
        predicted = self._train_ids(job.predicted, predicted, self.pred_ids)
        if self.merging is not None:
            target, predicted = self.merging(target), self.merging(predicted)
        return target, predicted

    def _train_ids(self, path: Path, ids: NDArray[np.uint8], kind: Ids) -> NDArray[np.uint8]:
        known = self.labels.known_ids.copy()
        if kind == "train":
            known[:] = False
            known[: len(self.labels.trained)] = True
        known[IGNORE_INDEX] = True
        present = np.bincount(ids.ravel(), minlength=256) > 0
        if (present & ~known).any():
            odd = int(np.flatnonzero(present & ~known)[0])
            other = "label" if kind == "train" else "train"
            raise PerceptionError(
                path,
                f"value {odd}",
                f"{kind} ids of {self.labels.name}",
                f"Are these {other} ids? Say so by --gt-ids or --pred-ids {other}.",
            )
        return ids if kind == "train" else self.labels.id_to_train[ids]

    def result(self, total: Confusion) -> Result:
        """IoU of every class."""
        names = self.scored.names
        iou = dict(zip(names, self._iou(total).tolist(), strict=True))
        headline = self.headline(total)
        values = {
            "class_iou": iou,
            "mean_class_iou": headline["mean IoU"],
            "pixel_accuracy": headline["pixel accuracy"],
            "num_images": total.images,
            "classes": [*names, "not scored"],
            "confusion": sparse(total.table),
        }
        kept = np.append(np.ones(len(names), bool), False)
        return Result(
            headline,
            values,
            (class_table("", {"IoU": iou}, {"IoU": headline["mean IoU"]}),),
            (confusion_section(total.table, (*names, "not scored"), kept),),
        )

    def _iou(self, total: Confusion) -> NDArray[np.float64]:
        """(classes,); pixels predicted as a class that is not scored are misses."""
        classes = len(self.scored.trained)
        return class_iou(total.table, np.arange(classes + 1) == classes)[:classes]

    def headline(self, total: Confusion) -> Mapping[str, float]:
        """Mean IoU and pixel accuracy."""
        pixels = int(total.table.sum())
        hit = int(total.table.diagonal().sum())
        return {
            "mean IoU": nan_mean(self._iou(total)),
            "pixel accuracy": hit / pixels if pixels else float("nan"),
        }

    def image_scores(self, record: Confusion) -> Mapping[str, float]:
        """The same of one image, over the classes it has."""
        return self.headline(record)

    def encode(self, record: Confusion) -> Any:
        """Non-zero entries as [label, prediction, pixels]."""
        return sparse(record.table)

    def decode(self, value: Any) -> Confusion:
        """What `encode` gave."""
        return Confusion(dense(value, len(self.scored.trained) + 1), 1)

    def resampler(
        self, records: Sequence[Confusion]
    ) -> Callable[[NDArray[np.int64]], Mapping[str, float]]:
        """Weighted sum of all confusions at once."""
        stack = np.stack([record.table for record in records])
        return lambda times: self.headline(Confusion(np.tensordot(times, stack, 1)))

    def panels(self, job: SemanticJob) -> tuple[Panel, ...]:
        """Label, prediction, errors, in the colours of the scored table."""
        target, predicted = self._read(job)
        back = self.scored.train_to_id
        path = find_image(Path(self.images), job.key) if self.images else None
        photo = None if path is None else read_image(path)
        return semantic_panels(self.scored, back[target], back[predicted], photo)


def sparse(table: NDArray[np.int64]) -> list[list[int]]:
    """Non-zero entries of a matrix as [row, column, value], sorted."""
    rows, columns = np.nonzero(table)
    result: list[list[int]] = np.stack([rows, columns, table[rows, columns]], axis=1).tolist()
    return result


def dense(entries: Any, classes: int) -> NDArray[np.int64]:
    """(classes, classes) matrix of what `sparse` gave."""
    table = np.zeros((classes, classes), np.int64)
    for row, column, value in entries:
        table[row, column] = value
    return table
