"""KittiSeg's variant of the road score from files: `<label's name>.npy` beside RGB labels."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import PerceptionError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.folders import labels_of, prediction_of
from perception.evaluation.kitti_road import KITTISEG_RAW, RoadCounts, quantize
from perception.evaluation.kitti_road.files import road_panels
from perception.evaluation.kitti_road.labels import Oddity, RoadLabel, remarks
from perception.evaluation.kitti_road.raw import (
    BACKGROUND_COLOR,
    RESIZED,
    ROAD_COLOR,
    match_colors,
    resize_nearest,
    threshold_bins,
)
from perception.evaluation.kitti_road.result import road_curves, road_table, road_values
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, naming, read_map
from perception.files import read_bytes
from perception.files.containers import inspect
from perception.files.images import decode_bytes
from perception.report.parts import Panel


@dataclass(frozen=True)
class RawJob:
    """A label and its float map."""

    key: str
    target: Path
    predicted: Path


@dataclass(frozen=True)
class RawRecord(RoadCounts):
    """Counts, with what is unusual about the labels."""

    odd: tuple[Oddity, ...] = ()

    def merge(self, other: RoadCounts) -> RawRecord:
        """Both parts together."""
        merged = super().merge(other)
        odd = self.odd + (other.odd if isinstance(other, RawRecord) else ())
        return RawRecord(merged.histogram, merged.images, odd)


@dataclass(frozen=True)
class KittiSegRaw(Benchmark[RawJob, RawRecord]):
    """One pool over all files, float maps, labels by exact colours."""

    road_color: Sequence[int] = ROAD_COLOR
    background_color: Sequence[int] = BACKGROUND_COLOR
    resized: bool = False  # labels at KittiSeg's 1248x384, as its option `reseize_image`

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--road-color, --background-color, --resized."""
        for name, color in (("road", ROAD_COLOR), ("background", BACKGROUND_COLOR)):
            parser.add_argument(
                f"--{name}-color",
                nargs=3,
                type=int,
                metavar=("R", "G", "B"),
                help=f"of {name} in the labels, default {color}",
            )
        parser.add_argument(
            "--resized",
            action="store_true",
            default=None,
            help="score at 1248x384, labels by nearest pixel",
        )

    @property
    def protocol(self) -> Protocol:
        """The definition, with colours and size."""
        size = f"{RESIZED[1]}x{RESIZED[0]}" if self.resized else "as labelled"
        extra = {
            "road_color": list(self.road_color),
            "size": size,
            "background_color": list(self.background_color),
        }
        return Protocol(
            KITTISEG_RAW.name, KITTISEG_RAW.version, {**KITTISEG_RAW.parameters, **extra}
        )

    def jobs(self, target: Path, predicted: Path) -> list[RawJob]:
        """Every PNG of the labels' folder."""
        labels = labels_of(
            target, ".png", below=False, do="Give the folder gt_image_2 of the data set."
        )
        do = "Store the road probability by numpy.save."
        return [
            RawJob(
                key,
                path,
                prediction_of(predicted, key, ".npy", for_=f"the label {path.name}", do=do),
            )
            for key, path in labels.items()
        ]

    def score_one(self, job: RawJob) -> RawRecord:
        """Counts of one image."""
        label = self._label(job)
        road, valid = label.road, label.valid
        probability = read_map(job.predicted)
        of = f"the label {job.target.name}" + (" at 1248x384" if self.resized else "")
        check_size(job.predicted, probability.shape, road.shape, of)
        with naming(job.predicted, "probabilities", "Store the softmax of the road class."):
            counts = RoadCounts.zero().update(threshold_bins(probability), road, valid)
        return RawRecord(counts.histogram, counts.images, label.odd)

    def _label(self, job: RawJob) -> RoadLabel:
        data = read_bytes(job.target)
        container = inspect(job.target, data)
        label = decode_bytes(job.target, data, container)
        if label.ndim != 3:
            raise PerceptionError(
                job.target,
                "one channel",
                "a label in RGB",
                "Give the labels as the data set has them.",
            )
        label = label[..., 2::-1]  # BGR
        if self.resized:
            label = resize_nearest(label, RESIZED)
        road, background = tuple(self.road_color), tuple(self.background_color)
        on_road, valid = match_colors(label, road, background)  # type: ignore[arg-type]
        kinds = ["lossy"] if container.lossy else []
        if not (valid | ~label.any(-1)).all():
            kinds.append("unmatched")
        return RoadLabel(on_road, valid, tuple((kind, job.target.name) for kind in kinds))

    def result(self, total: RawRecord) -> Result:
        """Scores of all files in one pool."""
        if not total.histogram[1].any():
            raise PerceptionError(
                "labels",
                f"no pixel of the road's colour {tuple(self.road_color)}",
                "some road",
                "Give the colours of these labels.",
            )
        scores = {"all": total.compute()}
        one = scores["all"]
        values = {
            **road_values(one),
            "accuracy_best": one.accuracy,
            "TNR_best": one.tnr,
            "size": self.protocol.parameters["size"],
        }
        notes = tuple(remarks(total.odd))
        return Result(
            self.headline(total), values, (road_table(scores),), (road_curves(scores),), notes
        )

    def headline(self, total: RoadCounts) -> Mapping[str, float]:
        """MaxF1 and AP."""
        scores = total.compute()
        return {"MaxF1": scores.max_f1, "AP": scores.ap}

    def image_scores(self, record: RoadCounts) -> Mapping[str, float]:
        """MaxF1 and its company of one image."""
        values = road_values(record.compute())
        return {name: values[name] for name in ("MaxF1", "AP", "PRE", "REC", "best_threshold")}

    def encode(self, record: RoadCounts) -> Any:
        """The two histograms."""
        return record.histogram.tolist()

    def decode(self, value: Any) -> RawRecord:
        """What `encode` gave."""
        return RawRecord(np.array(value, np.int64).reshape(2, 256), 1)

    def panels(self, job: RawJob) -> tuple[Panel, ...]:
        """Confidence, and where it differs from the label at 0.5."""
        label = self._label(job)
        return road_panels(label.road, label.valid, quantize(read_map(job.predicted)), None)
