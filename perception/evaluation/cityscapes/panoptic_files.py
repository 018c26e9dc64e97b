"""Panoptic quality from files: a COCO panoptic JSON and a folder of PNGs on either side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.cityscapes import PANOPTIC, Category, PanopticEvaluator, Segment
from perception.evaluation.folders import inside
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, naming
from perception.files import read_json, read_raster
from perception.report.parts import Column, Panel, Table


@dataclass(frozen=True)
class PanopticJob:
    """The two images of one annotation, and their segments."""

    key: str  # image id
    target: Path
    predicted: Path
    target_segments: tuple[Segment, ...]
    predicted_segments: tuple[Segment, ...]
    categories: tuple[Category, ...]
    predicted_json: Path


@dataclass(frozen=True)
class CityscapesPanoptic(Benchmark[PanopticJob, PanopticEvaluator]):
    """PQ, SQ, RQ of all, things and stuff; --gt and --pred are the JSON files."""

    gt_folder: str | Path | None = None  # None: the JSON's path without .json
    pred_folder: str | Path | None = None

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--gt-folder, --pred-folder."""
        for side in ("gt", "pred"):
            parser.add_argument(
                f"--{side}-folder",
                type=Path,
                metavar="DIR",
                help=f"PNGs; default: the path of --{side} without .json",
            )

    @property
    def protocol(self) -> Protocol:
        """The definition."""
        return PANOPTIC

    def jobs(self, target: Path, predicted: Path) -> list[PanopticJob]:
        """Every annotation of the labels, sorted by image id, with its prediction."""
        labels, found = (_Json.read(path) for path in (target, predicted))
        categories = labels.categories()
        folders = [
            Path(given) if given else path.with_suffix("")
            for given, path in ((self.gt_folder, target), (self.pred_folder, predicted))
        ]
        predictions = found.annotations()
        jobs = []
        for image, annotation in sorted(labels.annotations().items()):
            if image not in predictions:
                raise PerceptionError(
                    f"{predicted}: image {image}",
                    "no annotation",
                    "one per image",
                    "Predict this image too.",
                )
            other = predictions[image]
            jobs.append(
                PanopticJob(
                    image,
                    labels.image(folders[0], annotation),
                    found.image(folders[1], other),
                    labels.segments(annotation, areas=True),
                    found.segments(other, areas=False),
                    categories,
                    predicted,
                )
            )
        if not jobs:
            raise PerceptionError(target, "no annotation", "some", "Check it.")
        return jobs

    def score_one(self, job: PanopticJob) -> PanopticEvaluator:
        """Matches of one image."""
        target, predicted = read_segments(job.target), read_segments(job.predicted)
        check_size(job.predicted, predicted.shape, target.shape, f"the label {job.target.name}")
        with naming(
            Path(f"{job.predicted_json}: image {job.key}"),
            "every segment in image and JSON, of a known category",
            "Write image and JSON in one go.",
        ):
            return PanopticEvaluator.zero(job.categories).update(
                predicted, job.predicted_segments, target, job.target_segments
            )

    def result(self, total: PanopticEvaluator) -> Result:
        """Means and every category."""
        scores = total.compute()
        values: dict[str, Any] = {
            name: {"pq": q.pq, "sq": q.sq, "rq": q.rq, "n": q.categories}
            for name, q in scores.groups.items()
        }
        values["per_class"] = {
            str(i): {"pq": q.pq, "sq": q.sq, "rq": q.rq} for i, q in scores.per_category.items()
        }
        values["num_images"] = total.images
        names = {c.id: c.name for c in total.categories}
        present = {*total.matched, *total.counts}
        rows = [(name, q.pq, q.sq, q.rq, None, None, None) for name, q in scores.groups.items()]
        for i, q in scores.per_category.items():
            if i in present:
                wrong, missed = total.counts.get(i, (0, 0))
                hits = len(total.matched.get(i, ()))
                rows.append((names[i], q.pq, q.sq, q.rq, hits, wrong, missed))  # type: ignore[arg-type]
        columns = (
            Column("", "text"),
            *(Column(name) for name in ("PQ", "SQ", "RQ")),
            *(Column(name, "count") for name in ("TP", "FP", "FN")),
        )
        return Result(self.headline(total), values, (Table(columns, tuple(rows)),))

    def headline(self, total: PanopticEvaluator) -> Mapping[str, float]:
        """PQ of all, things, stuff; SQ and RQ of all."""
        groups = total.compute().groups
        return {
            "PQ": groups["All"].pq,
            "SQ": groups["All"].sq,
            "RQ": groups["All"].rq,
            "PQ things": groups["Things"].pq,
            "PQ stuff": groups["Stuff"].pq,
        }

    def image_scores(self, record: PanopticEvaluator) -> Mapping[str, float]:
        """The same of one image."""
        return self.headline(record)

    def encode(self, record: PanopticEvaluator) -> Any:
        """Categories, overlaps and counts."""
        return {
            "categories": [[c.id, c.name, c.thing] for c in record.categories],
            "matched": [[c, list(overlaps)] for c, overlaps in record.matched.items()],
            "counts": [[c, *counts] for c, counts in record.counts.items()],
        }

    def decode(self, value: Any) -> PanopticEvaluator:
        """What `encode` gave."""
        return PanopticEvaluator(
            tuple(Category(*c) for c in value["categories"]),
            {c: tuple(overlaps) for c, overlaps in value["matched"]},
            {c: (wrong, missed) for c, wrong, missed in value["counts"]},
            1,
        )

    def panels(self, job: PanopticJob) -> tuple[Panel, ...]:
        """Labelled and predicted segments, one colour each."""
        shown = []
        for caption, path in (("label", job.target), ("prediction", job.predicted)):
            ids = read_segments(path)
            mixed = (ids * 2654435761 % (1 << 24))[..., None] >> np.array([0, 8, 16])
            colors = (mixed & 127).astype(np.uint8) + 90
            colors[ids == 0] = 255
            shown.append(Panel(f"{caption}, one colour per segment", colors, sharp=True))
        return tuple(shown)


def read_segments(path: Path) -> NDArray[np.int64]:
    """(H, W) segment ids R + 256 G + 65536 B of a panoptic PNG."""
    image = read_raster(path, lossless=True)
    if image.ndim != 3 or image.dtype != np.uint8:
        raise PerceptionError(
            path,
            f"{image.dtype} {image.shape}",
            "8-bit RGB",
            "Segment ids are stored as R + 256 G + 65536 B.",
        )
    red, green, blue = (image[..., i].astype(np.int64) for i in range(3))
    return red + 256 * green + 65536 * blue


# ---------------------------------------------------------------------------- JSON


@dataclass(frozen=True)
class _Json:
    """A COCO panoptic file; whatever it lacks is an error that names image and key."""

    path: Path
    content: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> _Json:
        content = read_json(path)
        if not isinstance(content, Mapping) or not isinstance(content.get("annotations"), list):
            raise PerceptionError(
                path,
                "no list `annotations`",
                "COCO panoptic JSON",
                "Give the JSON by --gt and --pred, the PNGs by --gt-folder and --pred-folder.",
            )
        return cls(path, content)

    def annotations(self) -> dict[str, Mapping[str, Any]]:
        """By image id, as text."""
        found: dict[str, Mapping[str, Any]] = {}
        for annotation in self.content["annotations"]:
            image = str(self._get(annotation, "image_id", f"annotation {len(found)}"))
            if image in found:
                raise PerceptionError(
                    f"{self.path}: image {image}", "two annotations", "one", "Remove one of them."
                )
            found[image] = annotation
        return found

    def categories(self) -> tuple[Category, ...]:
        """The categories of the labels."""
        rows = self.content.get("categories")
        if not isinstance(rows, list) or not rows:
            raise PerceptionError(
                f"{self.path}: categories", "none", "a list", "Give the labels' JSON by --gt."
            )
        return tuple(
            Category(
                self._whole(row, "id", "category"),
                str(self._get(row, "name", "category")),
                bool(self._get(row, "isthing", "category")),
            )
            for row in rows
        )

    def image(self, folder: Path, annotation: Mapping[str, Any]) -> Path:
        """The PNG of an annotation; it lies below `folder`."""
        where = f"image {annotation['image_id']}"
        name = str(self._get(annotation, "file_name", where))
        return inside(folder, folder, name, f"{self.path}: {where}, file_name")

    def segments(self, annotation: Mapping[str, Any], *, areas: bool) -> tuple[Segment, ...]:
        """The listed segments; `areas`: labels carry area and iscrowd."""
        image = f"image {annotation['image_id']}"
        segments: dict[int, Segment] = {}
        rows = self._get(annotation, "segments_info", image)
        if not isinstance(rows, list):
            raise PerceptionError(
                f"{self.path}: {image}, segments_info", type(rows).__name__, "a list"
            )
        for row in rows:
            i = self._whole(row, "id", image)
            inside = f"{image}, segment {i}"
            if i in segments:
                raise PerceptionError(
                    f"{self.path}: {inside}",
                    "listed twice",
                    "once",
                    "Give every segment its own id.",
                )
            area = self._whole(row, "area", inside) if areas else 0
            crowd = bool(row.get("iscrowd", 0)) if areas else False
            segments[i] = Segment(i, self._whole(row, "category_id", inside), area, crowd)
        return tuple(segments.values())

    def _whole(self, row: Any, key: str, inside: str) -> int:
        value = self._get(row, key, inside)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not abs(value) < 2**53
            or value != int(value)
        ):
            found = str(value)[:80]
            raise PerceptionError(f"{self.path}: {inside}, {key}", found, "a whole number")
        return int(value)

    def _get(self, row: Any, key: str, inside: str) -> Any:
        if not isinstance(row, Mapping) or key not in row:
            raise PerceptionError(
                f"{self.path}: {inside}", f"no {key}", key, "Is this a COCO panoptic JSON?"
            )
        return row[key]
