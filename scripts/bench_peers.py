#!/usr/bin/env python3
"""Public small nets and a run of ours on the same frames, by the same evaluators.

    python scripts/bench_peers.py --kitti-object data/kitti_object --peers weights/
    python scripts/bench_peers.py --kitti-object data/kitti_object --run runs/street_joint --tiles 5
    python scripts/bench_peers.py --kitti-object data/kitti_object --onnx mine.onnx --class car=car

Every net sees each frame whole, in one pass; with --tiles also a row of squares. KITTI object, R40
of kitti_2019: car easy / moderate / hard at an overlap of 0.7, moderate at 0.5, pedestrian moderate
at 0.5; --bootstrap writes the middle 95 % over resampled frames beside the last two. `ms`: one
frame, pre-processing to boxes; comparable only between rows of one call on an idle machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from perception.data.datasets import open_dataset
from perception.evaluation.kitti_object import KittiObjectEvaluator, ObjectClass
from perception.files import write_json
from perception.inference.detectors import Detector
from perception.inference.tiles import Predictor, Renamed, Tiled
from perception.structures import Boxes

COCO_CLASSES = {"car": "car", "person": "pedestrian"}
CLASSES = {
    0.7: (ObjectClass("car", 0.7, ("van",)), ObjectClass("pedestrian", 0.5, ("person_sitting",))),
    0.5: (ObjectClass("car", 0.5, ("van",)),),
}


@dataclass(frozen=True)
class Peer:
    """A public net and the terms it comes with."""

    file: str
    title: str
    licence: str
    trained_on: str


PEERS = (
    Peer("yolox_nano.onnx", "YOLOX-nano (0.91 M)", "Apache-2.0", "COCO; never on KITTI"),
    Peer("FastestDet.onnx", "FastestDet (0.25 M)", "BSD-3", "COCO; never on KITTI"),
)


@dataclass(frozen=True)
class Row:
    """One net's line of the table."""

    net: str
    licence: str
    trained_on: str
    frames: int
    car: tuple[float, float, float]  # easy, moderate, hard at 0.7, percent
    car_at_half: float  # moderate at 0.5
    pedestrian: float  # moderate at 0.5
    spread: Mapping[str, tuple[float, float]]  # middle 95 % of the moderate ones
    milliseconds: float


def main(words: Sequence[str] | None = None) -> int:
    args = _arguments(words)
    cv2.setNumThreads(args.threads)
    torch.set_num_threads(args.threads)
    rows = []
    for title, licence, trained_on, net in _nets(args):
        for tiles in dict.fromkeys((0, args.tiles)):
            shown = f"{title}, {tiles} tiles + whole" if tiles else title
            seen: Predictor = Tiled(net, tiles) if tiles else net
            rows.append(score(shown, licence, trained_on, seen, args.kitti_object, args.bootstrap))
            print(line(rows[-1]), flush=True)
    if args.json:
        write_json(args.json, [asdict(row) for row in rows])
    return 0


def score(
    title: str, licence: str, trained_on: str, net: Predictor, root: Path, bootstrap: int
) -> Row:
    """A net on all labelled frames below `root`."""
    dataset = open_dataset("kitti_object", root, "all", tasks=["boxes"])
    frames: list[tuple[str, Boxes, Boxes]] = []
    spent = []
    for index in range(len(dataset)):
        frame = dataset.frame(index)
        found = net.predict(frame.image, key=frame.key, tasks=("boxes",)).boxes
        spent.append(sum((net.timing.pre, net.timing.network, net.timing.post)))
        assert found is not None and frame.boxes is not None
        frames.append((frame.key, found, frame.boxes))
    values = measure(frames)
    rng = np.random.default_rng(0)
    draws = [
        measure([(f"{n:06d}", *frames[i][1:]) for n, i in enumerate(chosen)])
        for chosen in rng.integers(0, len(frames), (bootstrap, len(frames)))
    ]
    spread = {
        name: tuple(np.nanpercentile([d[name] for d in draws], [2.5, 97.5]).round(1).tolist())
        for name in ("car moderate", "car moderate at 0.5", "pedestrian moderate")
        if draws
    }
    car = tuple(values[f"car {level}"] for level in ("easy", "moderate", "hard"))
    half, pedestrian = values["car moderate at 0.5"], values["pedestrian moderate"]
    mean = float(np.mean(spent[1:] or spent))
    return Row(title, licence, trained_on, len(frames), car, half, pedestrian, spread, mean)


def measure(frames: Sequence[tuple[str, Boxes, Boxes]]) -> dict[str, float]:
    """Average precision in percent of (key, predicted, labelled) frames."""
    values = {}
    for overlap, classes in CLASSES.items():
        evaluator = KittiObjectEvaluator(classes=classes, metrics=("image",))
        for key, found, truth in frames:
            evaluator = evaluator.update(key, found, truth)
        scores = evaluator.compute()
        for kind in classes:
            for level in ("easy", "moderate", "hard"):
                name = f"{kind.name} {level}" + (" at 0.5" if overlap == 0.5 else "")
                values[name] = 100 * scores.ap(kind.name, level)
    return values


def line(row: Row) -> str:
    """The row as Markdown."""
    car = " / ".join(f"{v:.1f}" for v in row.car)

    def ranged(value: float, name: str) -> str:
        low_high = row.spread.get(name)
        return f"{value:.1f}" + (f" [{low_high[0]:.0f}-{low_high[1]:.0f}]" if low_high else "")

    half = ranged(row.car_at_half, "car moderate at 0.5")
    pedestrian = ranged(row.pedestrian, "pedestrian moderate")
    cells = (row.net, row.licence, row.trained_on, car, half, pedestrian, f"{row.milliseconds:.0f}")
    return "| " + " | ".join(cells) + " |"


def _nets(args: argparse.Namespace) -> list[tuple[str, str, str, Predictor]]:
    """Title, licence, training data and the net of every row."""
    found: list[tuple[str, str, str, Predictor]] = []
    for peer in PEERS:
        if args.peers and (args.peers / peer.file).is_file():
            net = Detector(args.peers / peer.file, classes=COCO_CLASSES, threads=args.threads)
            found.append((peer.title, peer.licence, peer.trained_on, net))
    classes = dict(word.split("=", 1) for word in args.classes) or COCO_CLASSES
    for path in args.onnx:
        net = Detector(path, classes=classes, threads=args.threads)
        found.append((path.stem, "its own", "its own", net))
    for path in args.run:
        from perception.experiments.load import load

        model = load(path)
        model.size = tuple(args.size) if args.size else model.size
        wanted = {n: n for n in ("car", "pedestrian")}
        found.append((f"ours, {path.name}", "not released", "see its card", Renamed(model, wanted)))
    if not found:
        raise SystemExit("no net: give --peers, --onnx or --run")
    print("| net | licence | trained on | car at 0.7 | moderate at 0.5 | pedestrian | ms |")
    print("|---|---|---|---|---|---|---|")
    return found


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kitti-object", type=Path, required=True, metavar="DIR")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="folder of the listed nets")
    parser.add_argument("--onnx", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--class", dest="classes", action="append", default=[], metavar="A=B")
    parser.add_argument("--run", type=Path, action="append", default=[], metavar="RUN")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input of the runs")
    parser.add_argument("--tiles", type=int, default=0, metavar="N")
    parser.add_argument("--bootstrap", type=int, default=0, metavar="N", help="resampled sets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(words)


if __name__ == "__main__":
    raise SystemExit(main())
