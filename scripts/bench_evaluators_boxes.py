"""Time of scoring boxes, as a user waits for it: reading the files and starting Python included.

    python scripts/bench_evaluators_boxes.py [--frames 3769] [--images 2000] [--runs 3]

Frames are made up: about 7 labels and 22 detections each, with 3D boxes. Prints seconds of the
best run (wall clock; processor time beside it, as other work on the machine only adds to the
first) and the ratio to a floor measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from perception.evaluation import score
from perception.formats.kitti_object import write_labels, write_results
from perception.structures import Boxes

KINDS = ("Car", "Pedestrian", "Cyclist", "Van", "Truck")
SHARES = (0.62, 0.17, 0.07, 0.1, 0.04)
SIZES = {"Car": (1.5, 1.6, 3.9), "Pedestrian": (1.75, 0.6, 0.8), "Cyclist": (1.7, 0.6, 1.8),
         "Van": (2.2, 1.9, 5.0), "Truck": (3.2, 2.6, 10.0)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3769)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, best of {args.runs} runs")
    with tempfile.TemporaryDirectory() as folder:
        bench_kitti(Path(folder), args.frames, args.runs)
    with tempfile.TemporaryDirectory() as folder:
        bench_voc(Path(folder), args.images, args.runs)


# ---------------------------------------------------------------------------- KITTI object


def bench_kitti(folder: Path, frames: int, runs: int) -> None:
    labels, detections = write_kitti(folder, frames)
    print(f"KITTI object: {frames} frames, {labels} labels, {detections} detections")
    floor = report("parsing the numbers in plain Python", runs, lambda: parse_plainly(folder))
    command = [
        sys.executable,
        "-m",
        "perception",
        "score",
        "kitti_object/kitti_2019",
        "--gt",
        str(folder / "label_2"),
        "--pred",
        str(folder / "results"),
    ]
    for name, metrics in (
        ("2D and orientation", ["image", "orientation"]),
        ("ground plane and 3D", ["ground", "box3d"]),
        ("all four", []),
    ):
        words = command + (["--metrics", *metrics] if metrics else [])
        report(f"perception score, {name}", runs, lambda words=words: run(words), floor)


def write_kitti(folder: Path, frames: int) -> tuple[int, int]:
    """Writes label_2 and results; returns how many boxes of each."""
    generator = np.random.default_rng(0)
    totals = [0, 0]
    for index in range(frames):
        target = scene_of(generator, int(generator.poisson(7)))
        found = target[(generator.random(len(target)) < 0.9) & ~target.ignore]
        found = jittered(generator, found)
        clutter = scene_of(generator, int(generator.poisson(16)), regions=False)
        found = Boxes.concatenate([found, clutter])
        found = found.replace(score=generator.beta(2, 3, len(found)).round(6))
        write_labels(folder / "label_2" / f"{index:06d}.txt", target)
        write_results(folder / "results" / f"{index:06d}.txt", found)
        totals[0] += len(target)
        totals[1] += len(found)
    return totals[0], totals[1]


def scene_of(generator: np.random.Generator, count: int, regions: bool = True) -> Boxes:
    """Boxes on a street as a camera of KITTI's sees them, two decimals."""
    names = generator.choice(KINDS, count, p=SHARES)
    size = np.array([SIZES[name] for name in names]).reshape(-1, 3)
    size = size * generator.uniform(0.9, 1.1, (count, 3))
    z = generator.uniform(5, 70, count)
    x = generator.uniform(-0.6, 0.6, count) * z
    turn = generator.choice([0.0, np.pi / 2, -np.pi / 2], count) + generator.normal(0, 0.1, count)
    left, bottom = 610 + 720 * (x - size[:, 2] / 3) / z, 175 + 720 * 1.65 / z
    width, height = 480 * size[:, 2] / z, 720 * size[:, 0] / z
    xyxy = np.column_stack([left, bottom - height, left + width, bottom])
    xyxy = xyxy.clip(0, [1242, 375, 1242, 375])
    names = names.astype("U12")
    if regions and count:
        names[generator.random(count) < 0.12] = "DontCare"
    unset = np.where(names == "DontCare", np.nan, 0.0)
    return Boxes.of(
        xyxy.round(2),
        names,
        truncation=(generator.choice([0.0, 0.2, 0.4], count) + unset),
        occlusion=generator.integers(0, 3, count),
        alpha=(turn - np.arctan2(x, z)).round(2) + unset,
        dimensions=size.round(2) + unset[:, None],
        location=np.column_stack([x, np.full(count, 1.65), z]).round(2) + unset[:, None],
        rotation_y=turn.round(2) + unset,
        ignore=names == "DontCare",
    )


def jittered(generator: np.random.Generator, boxes: Boxes) -> Boxes:
    def noise(values: np.ndarray, scale: float) -> np.ndarray:
        return (values + generator.normal(0, scale, values.shape)).round(2)

    return boxes.replace(
        xyxy=noise(boxes.xyxy, 2.0),
        alpha=noise(boxes.alpha, 0.2),
        dimensions=noise(boxes.dimensions, 0.05),
        location=noise(boxes.location, 0.15),
        rotation_y=noise(boxes.rotation_y, 0.1),
    )


def parse_plainly(folder: Path) -> None:
    for path in sorted(folder.glob("*/*.txt")):
        for line in path.read_text().splitlines():
            [float(word) for word in line.split()[1:]]


# ---------------------------------------------------------------------------- Pascal VOC


def bench_voc(folder: Path, images: int, runs: int) -> None:
    objects, detections = write_voc(folder, images)
    print(f"VOC: {images} images, {objects} objects, {detections} detections, 3 classes")
    annotations = sorted((folder / "Annotations").glob("*.xml"))

    def parse() -> None:
        for path in annotations:
            ElementTree.fromstring(path.read_bytes())

    floor = report("parsing the XML", runs, parse)
    for name, options in (("one overlap", {}), ("ten overlaps", {"metric": "2007"})):
        protocol, predicted = ("coco_style", "found.json") if options else ("voc/2007", "found")
        report(
            f"score({protocol!r}), {name}",
            runs,
            lambda p=protocol, q=predicted, o=options: score(p, folder, folder / q, **o),
            floor,
        )


def write_voc(folder: Path, images: int) -> tuple[int, int]:
    generator = np.random.default_rng(1)
    for name in ("Annotations", "ImageSets/Main", "found"):
        (folder / name).mkdir(parents=True)
    lines: dict[str, list[str]] = {"car": [], "person": [], "bicycle": []}
    entries, objects = [], 0
    names = [f"{i:06d}" for i in range(images)]
    for image in names:
        items = []
        for _ in range(int(generator.poisson(3)) + 1):
            kind = str(generator.choice(list(lines)))
            x, y, w, h = generator.integers([1, 1, 20, 20], [400, 250, 120, 120])
            items.append(
                f"<object><name>{kind}</name><difficult>{int(generator.random() < 0.1)}</difficult>"
                f"<bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
                "</bndbox></object>"
            )
            box = np.array([x, y, x + w, y + h]) + generator.normal(0, 4, 4)
            value = generator.random()
            lines[kind].append(f"{image} {value:.3f} " + " ".join(f"{v:.1f}" for v in box))
            corners = ", ".join(f"{v:.3f}" for v in box)
            entries.append(
                f'{{"image_id": "{image}", "category": "{kind}", "score": {value:.5f}, '
                f'"bbox": [{corners}]}}'
            )
        objects += len(items)
        text = f"<annotation><size><width>500</width></size>{''.join(items)}</annotation>"
        (folder / "Annotations" / f"{image}.xml").write_text(text)
    (folder / "ImageSets/Main/test.txt").write_text("\n".join(names))
    for kind, rows in lines.items():
        (folder / "found" / f"{kind}.txt").write_text("\n".join(rows))
    (folder / "found.json").write_text(f"[{', '.join(entries)}]")
    return objects, len(entries)


# ---------------------------------------------------------------------------- measuring


def run(words: list[str]) -> None:
    subprocess.run(
        words,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parents[1],
    )


def report(name: str, runs: int, work: Callable[[], object], floor: float = 0.0) -> float:
    """Prints and returns the best wall time of some runs."""
    best, busy = np.inf, np.inf
    for _ in range(runs):
        wall, used = time.perf_counter(), processor_time()
        work()
        best = min(best, time.perf_counter() - wall)
        busy = min(busy, processor_time() - used)
    ratio = f", {best / floor:.2f} x the floor" if floor else ""
    print(f"  {name:45s} {best:7.3f} s wall, {busy:7.3f} s processor{ratio}", flush=True)
    return best


def processor_time() -> float:
    """Of this process and of those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
