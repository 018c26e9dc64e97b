"""KITTI object from files: `<6 digits>.txt` of labels beside results of the same names."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError, UsageError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.folders import frame_list
from perception.evaluation.kitti_object import (
    METRICS,
    FrameRecord,
    FrameRow,
    FrameTable,
    KittiObjectEvaluator,
    ObjectClass,
    ObjectRules,
    find_rules,
)
from perception.evaluation.kitti_object.images import NOTE, frame_panels, frame_scores
from perception.evaluation.kitti_object.result import headline_name, object_headline, object_result
from perception.evaluation.kitti_object.weighted import all_steps
from perception.evaluation.protocol import Protocol
from perception.files import files_in, find_image
from perception.formats.kitti_object import (
    format_labels,
    format_results,
    frame_files,
    parse_labels,
    parse_results,
    read_label_table,
    read_result_table,
)
from perception.report.parts import Panel


@dataclass(frozen=True)
class ObjectJob:
    """The files of one frame."""

    key: str  # "000012"
    target: Path
    predicted: Path


@dataclass(frozen=True)
class KittiObject(Benchmark[ObjectJob, KittiObjectEvaluator]):
    """Boxes by one of the three programs' rules."""

    classes: Sequence[str] | None = None  # "car", or "tram=0.7:train": overlap, neighbours
    metrics: Sequence[str] | None = None  # None: all that the protocol has
    frames: Sequence[str] | None = None  # frame ids; None: the protocol's choice
    images: str | Path | None = None  # folder; None: `image_2` beside the folder of the labels

    task = "boxes"
    beside = (".txt",)  # counted by `inventory`

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--classes, --metrics, --frames, --images."""
        parser.add_argument(
            "--classes",
            nargs="+",
            metavar="NAME",
            help="some of car, pedestrian, cyclist (default: all), or others with their overlap "
            "limit and neighbours, truck=0.7:van",
        )
        parser.add_argument(
            "--metrics", nargs="+", choices=METRICS, help="default: all that the protocol has"
        )
        parser.add_argument(
            "--frames",
            type=frame_list,
            metavar="FILE",
            help="text file of frame ids, one per line; default: the protocol's choice",
        )
        parser.add_argument(
            "--images",
            type=Path,
            metavar="DIR",
            help="photographs for --html; default: GT/../image_2, where it exists",
        )

    @property
    def rules(self) -> ObjectRules:
        """The protocol with the chosen classes and metrics."""
        return self._empty.rules

    @property
    def protocol(self) -> Protocol:
        """Which of the three programs."""
        return self.rules.protocol

    @property
    def _empty(self) -> KittiObjectEvaluator:
        kinds = tuple(_kind(word) for word in self.classes or ())
        return KittiObjectEvaluator(self.name, kinds, tuple(self.metrics or METRICS))

    def jobs(self, target: Path, predicted: Path) -> list[ObjectJob]:
        """Every labelled frame, or every frame with results, as the protocol has it."""
        rules = find_rules(self.name)
        labels = frame_files(target, skip=r".*\D.*\.txt")
        results = frame_files(predicted, skip=rules.own_files)
        if self.frames is not None:
            chosen = sorted(set(self.frames))
        elif rules.frames == "labels":
            chosen = list(labels)
        else:
            last = rules.last_frame
            chosen = [key for key in results if last is None or int(key) <= last]
        if not chosen:
            side = target if rules.frames == "labels" else predicted
            raise PerceptionError(side, "no frame", "text files of boxes, 000000.txt and so on")
        return [
            ObjectJob(
                key,
                _needed(labels, target, key, "label"),
                _needed(results, predicted, key, "result"),
            )
            for key in chosen
        ]

    def inventory(self, predicted: Path, jobs: Sequence[ObjectJob]) -> str:
        """Results without a label, and labelled frames without a result, which are not scored."""
        used = {path.name for job in jobs for path in (job.target, job.predicted)}
        sides = (("results", predicted), ("labelled frames", jobs[0].target.parent))
        counts = [
            (kind, sum(path.name not in used for path in files_in(folder, (".txt",)).files))
            for kind, folder in sides
        ]
        others = (f"{count:,} {kind} not scored" for kind, count in counts if count)
        return ", ".join((f"{len(jobs):,} frames", *others))

    def score_one(self, job: ObjectJob) -> KittiObjectEvaluator:
        """The evaluator after one frame."""
        return next(self.records([job]))

    def records(self, jobs: Sequence[ObjectJob]) -> Iterator[KittiObjectEvaluator]:
        """All files are parsed at once: that is many times faster than one by one."""
        target = read_label_table([job.target for job in jobs])
        predicted = read_result_table([job.predicted for job in jobs])
        for row in FrameTable(predicted, target).rows():
            yield self._one(row)

    def merge(self, records: Sequence[KittiObjectEvaluator]) -> KittiObjectEvaluator:
        """All frames in one step."""
        return KittiObjectEvaluator(
            self._empty.protocol,
            self._empty.classes,
            self._empty.metrics,
            tuple(frame for record in records for frame in record.records),
        )

    def result(self, total: KittiObjectEvaluator) -> Result:
        """AP and number of objects by class, difficulty and metric."""
        return object_result(total.compute())

    def headline(self, total: KittiObjectEvaluator) -> Mapping[str, float]:
        """AP of every class, difficulty and metric."""
        return object_headline(total.compute())

    def resampler(
        self, records: Sequence[KittiObjectEvaluator]
    ) -> Callable[[NDArray[np.int64]], Mapping[str, float]]:
        """Matches every frame once, and afterwards only weights the counts."""
        total = self.merge(records)
        scene, rules = total.scene(), total.rules
        steps = all_steps(scene, rules)
        order = np.argsort([record.records[0].key for record in records], kind="stable")

        def headline(times: NDArray[np.int64]) -> Mapping[str, float]:
            found = {}
            for (kind, metric, level), one in steps.items():
                curves = one.curves(times[order], rules)
                if metric in rules.metrics:
                    found[headline_name(kind, level, metric)] = curves.precision.ap
                if metric == "image" and "orientation" in rules.metrics and scene.oriented:
                    found[headline_name(kind, level, "orientation")] = curves.orientation.ap
            return found

        return headline

    def image_scores(self, record: KittiObjectEvaluator) -> Mapping[str, float]:
        """F1 and counts of one frame alone."""
        return self.each_image([record])[0]

    def each_image(self, records: Sequence[KittiObjectEvaluator]) -> list[Mapping[str, float]]:
        """F1 and counts of every frame, at the score where each class has its best F1."""
        return frame_scores(self.merge(records), [record.records[0].key for record in records])

    image_note = NOTE

    def panels_of(
        self,
        jobs: Sequence[ObjectJob],
        records: Sequence[KittiObjectEvaluator],
        chosen: Sequence[int],
    ) -> list[tuple[Panel, ...]]:
        """The chosen images with their boxes, where --images or the official layout has them."""
        images = [self._image(job) for job in jobs]
        return frame_panels(self.merge(records), [(jobs[i].key, images[i]) for i in chosen])

    def _image(self, job: ObjectJob) -> Path | None:
        folder = Path(self.images) if self.images else job.target.parent.parent / "image_2"
        return find_image(folder, job.key)

    def encode(self, record: KittiObjectEvaluator) -> Any:
        """Both files' text."""
        (frame,) = record.records
        return {
            "key": frame.key,
            "target": format_labels(frame.target),
            "predicted": format_results(frame.predicted),
        }

    def decode(self, value: Any) -> KittiObjectEvaluator:
        """What `encode` gave."""
        predicted, target = parse_results(value["predicted"]), parse_labels(value["target"])
        return self._one(FrameRecord(value["key"], predicted, target))

    def _one(self, frame: FrameRecord | FrameRow) -> KittiObjectEvaluator:
        empty = self._empty
        return KittiObjectEvaluator(empty.protocol, empty.classes, empty.metrics, (frame,))


def _needed(files: Mapping[str, Path], folder: Path, key: str, kind: str) -> Path:
    found = files.get(key)
    if found is None:
        raise PerceptionError(
            folder / f"{key}.txt",
            "no such file",
            f"the {kind} of this frame",
            "An empty file says that nothing was found."
            if kind == "result"
            else "Remove the result, or choose --frames.",
        )
    return found


def _kind(word: str) -> str | ObjectClass:
    """ "car", or "truck=0.7:van:bus"."""
    name, given, rest = word.partition("=")
    if not given:
        return name
    limit, *neighbours = rest.split(":")
    try:
        overlap = float(limit)
    except ValueError:
        overlap = -1.0
    if not 0 < overlap < 1 or not name:
        raise UsageError(
            f"class {word}",
            f"overlap {limit}",
            "a number between 0 and 1",
            "Write it as truck=0.7, with neighbours as truck=0.7:van.",
        )
    return ObjectClass(name.lower(), overlap, tuple(neighbours))
