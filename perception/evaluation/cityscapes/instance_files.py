"""Cityscapes instance AP from files: one text file per frame that lists masks."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import PerceptionError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.cityscapes import INSTANCE, InstanceEvaluator, Mask
from perception.evaluation.cityscapes.frames import (
    BESIDE,
    cityscapes_scheme,
    inventory,
    labelled_frames,
    photograph,
)
from perception.evaluation.cityscapes.instance import Matches
from perception.evaluation.cityscapes.protocol import OVERLAPS, scored_instances
from perception.evaluation.folders import inside, one_per_frame
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, naming, read_grey, read_instances
from perception.files import files_below, read_text
from perception.labels import LabelScheme
from perception.report.parts import Column, Lines, Panel, Section, Series, Table


@dataclass(frozen=True)
class InstanceJob:
    """An instance image and the list of predicted masks."""

    key: str
    target: Path
    predicted: Path
    folder: Path  # that the masks must stay in


@dataclass(frozen=True)
class CityscapesInstance(Benchmark[InstanceJob, InstanceEvaluator]):
    """AP over ten overlaps, without the distance limits."""

    gt_suffix: str = "_gtFine_instanceIds.png"

    deep, beside = True, (*BESIDE, ".png")  # masks are named by the lists

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--gt-suffix."""
        parser.add_argument(
            "--gt-suffix",
            metavar="TEXT",
            help="end of the labels' names (default _gtFine_instanceIds.png)",
        )

    @cached_property
    def scheme(self) -> LabelScheme:
        """The official table."""
        return cityscapes_scheme()

    @property
    def protocol(self) -> Protocol:
        """The definition."""
        return INSTANCE

    def jobs(self, target: Path, predicted: Path) -> list[InstanceJob]:
        """Every labelled frame with its one list."""
        labels = labelled_frames(target, self.gt_suffix)
        found = one_per_frame(
            labels, files_below(predicted, (".txt",)).files, folder=predicted, kind="list of masks"
        )
        return [
            InstanceJob(frame, label, found[frame], predicted) for frame, label in labels.items()
        ]

    def inventory(self, predicted: Path, jobs: Sequence[InstanceJob]) -> str:
        """Matched, missing and extra lists."""
        paths = files_below(predicted, (".txt",)).files
        return inventory((job.key for job in jobs), paths, predicted)

    def score_one(self, job: InstanceJob) -> InstanceEvaluator:
        """Matches of one frame."""
        instances = read_instances(job.target)
        masks = read_masks(job, self.scheme, instances.shape)
        with naming(job.target, "instance ids of Cityscapes", "Give the instanceIds images."):
            return InstanceEvaluator(self.scheme).update(masks, instances)

    def result(self, total: InstanceEvaluator) -> Result:
        """AP and AP50 of every class, AP by overlap."""
        scores = total.compute()
        classes = {
            name: {"ap": float(aps.mean()), "ap50": float(aps[0])}
            for name, aps in scores.matrix.items()
        }
        values = {
            "AP": scores.ap,
            "AP50": scores.ap50,
            "classes": classes,
            "ap_matrix": scores.matrix,
            "num_images": len(total.records),
        }
        asked = {name: sum(r[name].asked for r in total.records if name in r) for name in classes}
        rows = [(name, one["ap"], one["ap50"], asked[name]) for name, one in classes.items()]
        table = Table(
            (Column("class", "text"), Column("AP"), Column("AP50"), Column("instances", "count")),
            (*rows, ("mean", scores.ap, scores.ap50, sum(asked.values()))),
        )
        curves = tuple(
            Series(name, OVERLAPS.tolist(), aps)
            for name, aps in scores.matrix.items()
            if not np.isnan(aps).all()
        )
        chart = Lines("AP over the overlap asked for", "overlap", "AP", curves, (0.5, 0.95), (0, 1))
        return Result(self.headline(total), values, (table,), (Section("Curves", (chart,)),))

    def headline(self, total: InstanceEvaluator) -> Mapping[str, float]:
        """AP and AP50."""
        scores = total.compute()
        return {"AP": scores.ap, "AP50": scores.ap50}

    def image_scores(self, record: InstanceEvaluator) -> Mapping[str, float]:
        """AP of this frame only, and how many instances it has."""
        scores = record.compute()
        matches = record.records[0].values()
        return {
            "AP": scores.ap,
            "AP50": scores.ap50,
            "instances": sum(m.asked for m in matches),
            "missed at 0.5": sum(m.missed[0] for m in matches),
            "wrong at 0.5": sum(len(m.false[0]) for m in matches),
        }

    def encode(self, record: InstanceEvaluator) -> Any:
        """Matches by class."""
        return {name: asdict(matches) for name, matches in record.records[0].items()}

    def decode(self, value: Any) -> InstanceEvaluator:
        """What `encode` gave."""
        record = {
            name: Matches(
                m["asked"],
                m["predictions"],
                tuple(m["missed"]),
                tuple(map(tuple, m["true"])),
                tuple(map(tuple, m["false"])),
            )
            for name, m in value.items()
        }
        return InstanceEvaluator(self.scheme, (record,))

    def merge(self, records: Sequence[InstanceEvaluator]) -> InstanceEvaluator:
        """All frames at once."""
        return InstanceEvaluator(self.scheme, tuple(r for one in records for r in one.records))

    def panels(self, job: InstanceJob) -> tuple[Panel, ...]:
        """Image, labelled instances, predicted masks; one hue per instance."""
        instances = read_instances(job.target)
        shown = np.zeros(instances.shape, np.int64)
        for i, mask in enumerate(read_masks(job, self.scheme, instances.shape), 1):
            shown[mask.pixels] = i
        wanted = np.array(list(scored_instances(self.scheme)))
        labelled = np.where(np.isin(instances // 1000, wanted), instances, 0)
        photo = photograph(job.target, self.gt_suffix)
        first = () if photo is None else (Panel("image", photo),)
        return (
            *first,
            Panel("labelled instances", _hues(labelled), sharp=True),
            Panel("predicted masks", _hues(shown), sharp=True),
        )


def read_masks(job: InstanceJob, scheme: LabelScheme, size: tuple[int, ...]) -> list[Mask]:
    """The masks that a list names, `path label confidence` per line; a mask listed twice takes
    the later line's values.

    Raises:
        PerceptionError: a line or a mask is not as it should be; names the line or the mask.
    """
    known = {c.id for c in scheme.classes}
    listed: dict[Path, tuple[int, float]] = {}
    for number, line in enumerate(read_text(job.predicted).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{job.predicted}, line {number}"
        words = line.strip().split(" ")
        if len(words) != 3:
            raise PerceptionError(
                where,
                f"{len(words)} fields: {line[:80]}",
                "path label confidence, single blanks between",
            )
        path = inside(job.folder, job.predicted.parent, words[0], where)
        label, score = (_number(where, word) for word in words[1:])
        if int(label) not in known:
            raise PerceptionError(
                where,
                f"label {words[1]}",
                "a label id of Cityscapes, e.g. 26 for car",
                "Are these train ids?",
            )
        listed[path] = (int(label), score)
    masks = []
    for path, (label, score) in listed.items():
        grey = read_grey(path, lossless=True)
        check_size(path, grey.shape, size, f"the label {job.target.name}")
        masks.append(Mask(label, score, grey != 0))
    return masks


def _number(where: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PerceptionError(where, word, "a finite number")
    return value


def _hues(ids: np.ndarray) -> np.ndarray:
    """(H, W, 3) one colour per id, 0 light grey; the same id has the same colour everywhere."""
    table = np.random.default_rng(7).integers(40, 220, (4096, 3)).astype(np.uint8)
    table[0] = 240
    result: np.ndarray = table[np.where(ids > 0, 1 + ids % 4095, 0)]
    return result
