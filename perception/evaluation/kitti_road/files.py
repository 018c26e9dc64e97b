"""KITTI road from files: `<category>_<number>.png` beside maps of the same name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError, UsageError
from perception.evaluation.benchmark import Benchmark, Result
from perception.evaluation.folders import labels_of, needed
from perception.evaluation.kitti_road import BEV, PERSPECTIVE, RoadCounts, RoadEvaluator, quantize
from perception.evaluation.kitti_road.bev import COLUMNS, ROWS, cells_of, road_to_image, to_bev
from perception.evaluation.kitti_road.protocol import CATEGORIES, URBAN
from perception.evaluation.kitti_road.result import road_result, road_values
from perception.evaluation.protocol import Protocol
from perception.evaluation.rasters import check_size, naming, read_confidence, read_map
from perception.files import decode, find_image, find_named, read_image
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
class KittiRoad(Benchmark[RoadJob, RoadEvaluator]):
    """Pooled counts per category; `name` says whether in the image or in bird's-eye view."""

    categories: Sequence[str] | None = None  # None: those that have labels
    urban: bool = True
    calib: str | Path | None = None  # folder; None: `calib` beside the folder of the labels
    pred_space: str = "perspective"  # "bev": predictions are views from above already
    pred_name: str = "{key}.png"

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """--categories, --calib, --pred-space, --pred-name."""
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

    def __post_init__(self) -> None:
        if not self.bev and self.pred_space != "perspective":
            raise UsageError(
                f"pred-space {self.pred_space}",
                f"protocol {self.name}",
                "kitti_road/bev",
                "Maps from above are scored by kitti_road/bev alone.",
            )
        try:
            self.pred_name.format(key="um_road_000000", image="um_000000")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise UsageError(
                f"pred-name {self.pred_name}",
                f"{type(error).__name__} {error}",
                "a file name with {key} or {image} in it",
                "Correct the pattern.",
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
        labels = labels_of(target, ".png", below=False, do=do)
        wanted = list(dict.fromkeys(self.categories or ())) or [
            c for c in CATEGORIES if any(key.startswith(c) for key in labels)
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
        return jobs

    def _job(self, category: str, key: str, target: Path, predicted: Path) -> RoadJob:
        wanted = predicted / self.pred_name.format(key=key, image=_image_key(key))
        file = _map(wanted)
        if file is None:
            do = "Predict this frame too, or name it so."
            if _map(predicted / f"{_image_key(key)}.png"):
                do = "Named like the images? Add --pred-name '{image}.png'."
            file = needed(wanted, for_=f"the label {target.name}", do=do)
        folder = Path(self.calib) if self.calib else target.parent.parent / "calib"
        return RoadJob(
            key, category, target, file, find_calibration(folder, key) if self.bev else None
        )

    def score_one(self, job: RoadJob) -> RoadEvaluator:
        """Counts of one image."""
        road, valid = read_road_label(job.target)
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
        return RoadEvaluator(self.protocol).update(job.category, confidence, road, valid)

    def result(self, total: RoadEvaluator) -> Result:
        """Scores of every category and of all urban roads."""
        for category, counts in total.counts.items():
            if not counts.histogram[1].any():
                raise PerceptionError(
                    category,
                    "no road pixel in any label",
                    "some road",
                    "Leave the category out; its scores are undefined.",
                )
        return road_result(self._chosen(total), total.counts)

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

    def encode(self, record: RoadEvaluator) -> Any:
        """Category and the two histograms."""
        ((category, counts),) = record.counts.items()
        return {"category": category, "histogram": counts.histogram.tolist()}

    def decode(self, value: Any) -> RoadEvaluator:
        """What `encode` gave."""
        counts = RoadCounts(np.array(value["histogram"], np.int64).reshape(2, 256), 1)
        return RoadEvaluator(self.protocol, {value["category"]: counts})

    def resampler(
        self, records: Sequence[RoadEvaluator]
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
        road, valid = read_road_label(job.target)
        confidence, photo = read_map_or_confidence(job.predicted), _photo(job)
        if job.calibration is not None:
            homography = read_homography(job.calibration)
            road, valid = to_bev(road, homography), to_bev(valid, homography)
            if self.pred_space != "bev":
                confidence = to_bev(confidence, homography)
            photo = None if photo is None else to_bev(photo, homography)
        return road_panels(road, valid, confidence, photo)


# ---------------------------------------------------------------------------- reading


def read_road_label(path: Path) -> tuple[Bools, Bools]:
    """(H, W) road and valid of a KITTI road label: red above 0 is evaluated, blue above 0 road."""
    import cv2

    label = decode(path, cv2.IMREAD_UNCHANGED)
    if label.ndim != 3:
        raise PerceptionError(
            path,
            "one channel",
            "a KITTI road label in RGB",
            "Red above 0 marks what is evaluated, blue above 0 what is road.",
        )
    blue, red = (cv2.extractChannel(label, i) for i in (0, 2))
    return blue != 0, red != 0


def read_map_or_confidence(path: Path) -> NDArray[np.uint8]:
    """(H, W) confidence of an image, or of probabilities in a .npy file."""
    if path.suffix.lower() != ".npy":
        return read_confidence(path)
    with naming(path, "probabilities", "Store the softmax of the road class."):
        return quantize(read_map(path))


def find_calibration(folder: Path, key: str) -> Path:
    """`<key>.txt`, or for um_road_000012 `um_000012.txt`, below the calibration folder."""
    for name in (key, _image_key(key)):
        if found := find_named(folder, name, (".txt",)):
            return found
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
