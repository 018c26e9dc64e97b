"""KITTI road from files: `<category>_<number>.png` beside maps of the same name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError, UsageError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.folders import frame_list, labels_of, needed
from perception.evaluation.kitti_road import BEV, PERSPECTIVE, RoadCounts, RoadEvaluator, quantize
from perception.evaluation.kitti_road.bev import COLUMNS, ROWS, cells_of, road_to_image, to_bev
from perception.evaluation.kitti_road.labels import Oddity, read_road_label, remarks
from perception.evaluation.kitti_road.protocol import CATEGORIES, URBAN, URBAN_CATEGORIES
from perception.evaluation.kitti_road.result import road_result, road_values
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, naming, read_confidence, read_map
from perception.files import find_image, find_named, read_image
from perception.formats.kitti_calib import read_calibration
from perception.report.parts import Panel

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class RoadJob:
    """The files of one labelled image."""

    key: str  # "um_road_000012"
    category: str
    target: Path
    predicted: Path
    calibration: Path | None = None


@dataclass(frozen=True)
class RoadRecord(RoadEvaluator):
    """The evaluator after some images, with what is unusual about their labels."""

    odd: tuple[Oddity, ...] = ()

    def merge(self, other: RoadEvaluator) -> RoadRecord:
        """Both parts together."""
        merged = super().merge(other)
        odd = self.odd + (other.odd if isinstance(other, RoadRecord) else ())
        return RoadRecord(merged.protocol, merged.counts, odd)


@dataclass(frozen=True)
class KittiRoad(Benchmark[RoadJob, RoadRecord]):
    """Pooled counts per category; `name` says whether in the image or in bird's-eye view."""

    categories: Sequence[str] | None = None  # None: those that have labels
    urban: bool = True
    calib: str | Path | None = None  # folder; None: `calib` beside the folder of the labels
    pred_space: str = "perspective"  # "bev": predictions are views from above already
    pred_name: str = "{key}.png"
    frames: Sequence[str] | None = None  # names of labels or of images; None: all

    task = "road"

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--categories, --calib, --pred-space, --pred-name, --frames."""
        parser.add_argument(
            "--categories",
            nargs="+",
            metavar="NAME",
            help=f"some of {', '.join(CATEGORIES)}; default: all with labels",
        )
        parser.add_argument(
            "--calib",
            type=Path,
            metavar="DIR",
            help="calibration files (bird's-eye view); default: GT/../calib",
        )
        parser.add_argument(
            "--pred-space",
            choices=("perspective", "bev"),
            help="bev: the predictions are 800x400 views from above already",
        )
        parser.add_argument(
            "--pred-name",
            metavar="PATTERN",
            help="file name of a prediction, default {key}.png; {key} is "
            "um_road_000012, {image} um_000012",
        )
        parser.add_argument(
            "--frames",
            type=frame_list,
            metavar="FILE",
            help="text file of the frames to score, um_road_000012 or um_000012 in each line",
        )

    def __post_init__(self) -> None:
        if not self.bev and self.pred_space != "perspective":
            raise UsageError(
                f"pred-space {self.pred_space}",
                f"protocol {self.name}",
                "kitti_road/bev",
                "Only kitti_road/bev scores maps from above.",
            )
        try:
            self.pred_name.format(key="um_road_000000", image="um_000000")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise UsageError(
                f"pred-name {self.pred_name}",
                f"{type(error).__name__} {error}",
                "a file name with {key} or {image} in it",
            ) from error

    @property
    def bev(self) -> bool:
        """Whether labels are looked at from above."""
        return self.name == BEV.name

    @property
    def protocol(self) -> Protocol:
        """Which of the two spaces."""
        return BEV if self.bev else PERSPECTIVE

    def jobs(self, target: Path, predicted: Path) -> list[RoadJob]:
        """Every label of the categories, with its map (and calibration)."""
        do = "Give the folder gt_image_2 of the data set."
        labels = self._chosen_labels(labels_of(target, ".png", below=False, do=do), target)
        known = URBAN_CATEGORIES if predicted.name == self.task else CATEGORIES
        wanted = list(dict.fromkeys(self.categories or ())) or [
            c for c in known if any(key.startswith(c) for key in labels)
        ]
        jobs = []
        for category in wanted:
            chosen = [key for key in labels if key.startswith(category)]
            if not chosen:
                raise PerceptionError(
                    f"{target}: {category}",
                    "no label of this category",
                    f"{category}_000000.png and so on",
                    "Choose --categories.",
                )
            jobs += [self._job(category, key, labels[key], predicted) for key in chosen]
        if not jobs:
            raise PerceptionError(target, "no label", f"files of {', '.join(CATEGORIES)}", do)
        if not self.bev:
            return jobs
        calibrated = [job for job in jobs if job.calibration is not None]
        if not calibrated:
            folder = self._calibration(target)
            find_calibration(folder, jobs[0].key)  # says what was looked for
        return calibrated

    def left_out(self, target: Path, predicted: Path, jobs: Sequence[RoadJob]) -> str:
        """Also the labelled frames that have no calibration."""
        rest = super().left_out(target, predicted, jobs)
        if not self.bev:
            return rest
        chosen = self._chosen_labels(labels_of(target, ".png", below=False, do=""), target)
        kinds = {job.category for job in jobs} | set(self.categories or ())
        used = {job.key for job in jobs}
        without = [k for k in chosen if k not in used and any(k.startswith(c) for c in kinds)]
        if not without:
            return rest
        said = f"without calibration: {len(without):,} frames (e.g. {without[0]})"
        return f"{rest}; {said}" if rest else said

    def _chosen_labels(self, labels: Mapping[str, Path], target: Path) -> Mapping[str, Path]:
        """The labels of the chosen frames."""
        if self.frames is None:
            return labels
        wanted = set(self.frames)
        for name in sorted(wanted - set(labels) - {_image_key(key) for key in labels}):
            raise PerceptionError(f"{target}: frame {name}", "no such label", "one to score")
        return {k: path for k, path in labels.items() if wanted & {k, _image_key(k)}}

    def _calibration(self, target: Path) -> Path:
        return Path(self.calib) if self.calib else target.parent / "calib"

    def _job(self, category: str, key: str, target: Path, predicted: Path) -> RoadJob:
        wanted = predicted / self.pred_name.format(key=key, image=_image_key(key))
        calibration = None
        if self.bev:
            calibration = find_calibration(self._calibration(target.parent), key, needed=False)
            if calibration is None:
                return RoadJob(key, category, target, wanted)  # is not scored
        file = _map(wanted)
        if file is None and predicted.name == self.task and "_lane_" not in key:
            file = _map(predicted / f"{_image_key(key)}.png")  # as `perception predict` names it
        if file is None:
            do = "Predict this frame too, or name it so."
            if _map(predicted / f"{_image_key(key)}.png"):
                do = "Named like the images? Add --pred-name '{image}.png'."
            file = needed(wanted, for_=f"the label {target.name}", do=do)
        return RoadJob(key, category, target, file, calibration)

    def score_one(self, job: RoadJob) -> RoadRecord:
        """Counts of one image."""
        label = read_road_label(job.target)
        road, valid = label.road, label.valid
        confidence = read_map_or_confidence(job.predicted)
        from_above = self.pred_space == "bev"
        expected = (ROWS, COLUMNS) if from_above else road.shape
        of = "a view from above" if from_above else f"the label {job.target.name}"
        check_size(job.predicted, confidence.shape, expected, of)
        if job.calibration is not None:
            cells = cells_of(read_homography(job.calibration), (road.shape[0], road.shape[1]))
            seen = cells.source.astype(np.intp)  # cells outside the image are not evaluated
            road, valid = road.ravel().take(seen), valid.ravel().take(seen)
            confidence = confidence[cells.inside] if from_above else confidence.ravel().take(seen)
        counts = RoadEvaluator(self.protocol).update(job.category, confidence, road, valid).counts
        return RoadRecord(self.protocol, counts, label.odd)

    def result(self, total: RoadRecord) -> Result:
        """Scores of every category and of all urban roads."""
        for category, counts in total.counts.items():
            if not counts.histogram[1].any():
                raise PerceptionError(
                    category,
                    "no road pixel in any label",
                    "some road",
                    "Leave the category out; its scores are undefined.",
                )
        result = road_result(self._chosen(total), total.counts)
        return replace(result, notes=(*result.notes, *remarks(total.odd)))

    def headline(self, total: RoadEvaluator) -> Mapping[str, float]:
        """MaxF1 and AP of every category."""
        return {
            f"{name} {label}": value
            for name, scores in self._chosen(total).items()
            for label, value in (("MaxF1", scores.max_f1), ("AP", scores.ap))
        }

    def _chosen(self, total: RoadEvaluator) -> dict[str, Any]:
        scores = total.compute()
        if not self.urban:
            scores.pop(URBAN, None)
        return scores

    def image_scores(self, record: RoadEvaluator) -> Mapping[str, float]:
        """MaxF1 and its company of one image; its own best threshold."""
        ((_, counts),) = record.counts.items()
        values = road_values(counts.compute())
        return {name: values[name] for name in ("MaxF1", "AP", "PRE", "REC", "best_threshold")}

    def encode(self, record: RoadRecord) -> Any:
        """Category and the two histograms."""
        ((category, counts),) = record.counts.items()
        odd = {"odd": [list(one) for one in record.odd]} if record.odd else {}
        return {"category": category, "histogram": counts.histogram.tolist(), **odd}

    def decode(self, value: Any) -> RoadRecord:
        """What `encode` gave."""
        odd = tuple((str(kind), str(name)) for kind, name in value.get("odd", ()))
        counts = RoadCounts(np.array(value["histogram"], np.int64).reshape(2, 256), 1)
        return RoadRecord(self.protocol, {value["category"]: counts}, odd)

    def resampler(
        self, records: Sequence[RoadRecord]
    ) -> Callable[[NDArray[np.int64]], Mapping[str, float]]:
        """Weighted sums of all histograms at once."""
        categories = [next(iter(record.counts)) for record in records]
        stacks = np.stack([next(iter(record.counts.values())).histogram for record in records])
        rows = {
            category: np.array([c == category for c in categories])
            for category in dict.fromkeys(categories)
        }

        def headline(times: NDArray[np.int64]) -> Mapping[str, float]:
            counts = {
                category: RoadCounts(
                    np.tensordot(times[chosen], stacks[chosen], 1), int(times[chosen].sum())
                )
                for category, chosen in rows.items()
            }
            return self.headline(RoadEvaluator(self.protocol, counts))

        return headline

    def panels(self, job: RoadJob) -> tuple[Panel, ...]:
        """Label, confidence, and where they differ at confidence 0.5; in the protocol's space."""
        label = read_road_label(job.target)
        road, valid = label.road, label.valid
        confidence, photo = read_map_or_confidence(job.predicted), _photo(job)
        if job.calibration is not None:
            homography = read_homography(job.calibration)
            road, valid = to_bev(road, homography), to_bev(valid, homography)
            if self.pred_space != "bev":
                confidence = to_bev(confidence, homography)
            photo = None if photo is None else to_bev(photo, homography)
        return road_panels(road, valid, confidence, photo)


# ---------------------------------------------------------------------------- reading


def read_map_or_confidence(path: Path) -> NDArray[np.uint8]:
    """(H, W) confidence of an image, or of probabilities in a .npy file."""
    if path.suffix.lower() != ".npy":
        return read_confidence(path)
    with naming(path, "probabilities", "Store the softmax of the road class."):
        return quantize(read_map(path))


@overload
def find_calibration(folder: Path, key: str) -> Path: ...
@overload
def find_calibration(folder: Path, key: str, *, needed: bool) -> Path | None: ...
def find_calibration(folder: Path, key: str, *, needed: bool = True) -> Path | None:
    """`<key>.txt`, or for um_road_000012 `um_000012.txt`, below the calibration folder.

    Raises:
        PerceptionError: it is `needed` and not there.
    """
    for name in (key, _image_key(key)):
        if found := find_named(folder, name, (".txt",)):
            return found
    if not needed:
        return None
    raise PerceptionError(
        f"{folder}: {key}",
        f"neither {key}.txt nor {_image_key(key)}.txt",
        "the calibration of this frame",
        "Give its folder by --calib.",
    )


def read_homography(path: Path) -> NDArray[np.float64]:
    """(3, 3) road plane to image, from P2, R0_rect and Tr_cam_to_road of a calibration file."""
    calibration = read_calibration(path)
    matrices = [calibration.matrix(name) for name in ("P2", "R0_rect", "Tr_cam_to_road")]
    try:
        return road_to_image(*matrices)
    except np.linalg.LinAlgError:
        raise PerceptionError(
            f"{path}: Tr_cam_to_road",
            "a matrix without inverse",
            "a pose",
            "Use an undamaged copy of the file.",
        ) from None


def _map(path: Path) -> Path | None:
    """The map of this name, with the suffix in any case; .npy where there is no .png."""
    found = find_named(path.parent, path.stem, (path.suffix,))
    if found is None and path.suffix.lower() == ".png":
        found = find_named(path.parent, path.stem, (".npy",))
    return found


def _image_key(key: str) -> str:
    """Name of the image: um_road_000012 shows um_000012."""
    parts = key.split("_")
    return f"{parts[0]}_{parts[2]}" if len(parts) == 3 else key


# ---------------------------------------------------------------------------- pictures


def _photo(job: RoadJob) -> NDArray[np.uint8] | None:
    """The camera image where the data set lies in its official layout."""
    path = find_image(job.target.parent.parent / "image_2", _image_key(job.key))
    return None if path is None else read_image(path)


def road_panels(
    road: Bools, valid: Bools, confidence: NDArray[np.uint8], photo: NDArray[np.uint8] | None
) -> tuple[Panel, ...]:
    """Photograph (if given), confidence, and errors at confidence 0.5."""
    predicted = confidence >= 128
    errors = np.full((*road.shape, 3), 235, np.uint8)
    errors[~valid] = 255
    for chosen, color in (
        (valid & road & predicted, (120, 170, 130)),
        (valid & road & ~predicted, (37, 99, 235)),
        (valid & ~road & predicted, (220, 38, 38)),
    ):
        errors[chosen] = color
    shown = () if photo is None else (Panel("image", photo),)
    return (
        *shown,
        Panel("confidence", np.repeat(confidence[..., None], 3, 2)),
        Panel("hit green, missed blue, too much red, at 0.5", errors, sharp=True),
    )
