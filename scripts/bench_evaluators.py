"""Speed of scoring, each as a ratio to a floor measured in the same run: decoding the same PNGs.

    python scripts/bench_evaluators.py [--frames 40] [road cityscapes workers ...]

CPU time of one core (OpenCV's threads are off; set OMP_NUM_THREADS=1), best of several interleaved
rounds, so that a machine that is busy with other things slows both sides alike; `workers` is by the
clock and needs an idle machine. Frames are drawn: smooth
label maps, noisy confidence, a different calibration per frame.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from perception.evaluation import create, run_benchmark

ROUNDS = 7


@dataclass(frozen=True)
class Line:
    """One measured ratio and what it may be."""

    what: str
    milliseconds: float
    floor: float
    limit: float

    def __str__(self) -> str:
        ratio = self.milliseconds / self.floor
        verdict = "ok" if ratio <= self.limit else "ABOVE"
        return (
            f"{self.what:<40} {self.milliseconds:7.2f} ms, floor {self.floor:7.2f} ms, "
            f"ratio {ratio:5.2f} of {self.limit:4.2f} {verdict}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("what", nargs="*", help="road, cityscapes, workers (default: all)")
    args = parser.parse_args()
    chosen = args.what or ["road", "cityscapes", "workers"]
    cv2.setNumThreads(1)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "road" in chosen:
            road(folder / "road", args.frames)
        if "cityscapes" in chosen:
            cityscapes(folder / "cityscapes", max(2, args.frames // 4))
        if "workers" in chosen:
            workers(folder / "workers", 320)


def road(folder: Path, frames: int) -> None:
    """KITTI road in the image and from above."""
    draw_road(folder, frames)
    for name, limit in (("kitti_road/perspective", 1.25), ("kitti_road/bev", 1.8)):
        benchmark = create(name, {"calib": folder / "calib"} if name.endswith("bev") else {})
        jobs = benchmark.jobs(folder / "gt", folder / "pred")
        paths = [path for job in jobs for path in (job.target, job.predicted)]
        own, floor = best_of(
            lambda benchmark=benchmark, jobs=jobs: benchmark.merge(list(benchmark.records(jobs))),
            lambda paths=paths: [cv2.imread(str(path), -1) for path in paths],
        )
        print(Line(f"{name}, 375x1242", own / frames, floor / frames, limit))


def cityscapes(folder: Path, frames: int) -> None:
    """Pixel scores with iIoU on full frames of about 20 instances."""
    draw_cityscapes(folder, frames)
    benchmark = create("cityscapes/pixel", {})
    jobs = benchmark.jobs(folder / "gt", folder / "pred")
    paths = [path for job in jobs for path in (job.target, job.instances, job.predicted)]
    own, floor = best_of(
        lambda: benchmark.merge(list(benchmark.records(jobs))),
        lambda: [cv2.imread(str(path), -1) for path in paths],
    )
    print(Line("cityscapes/pixel with iIoU, 1024x2048", own / frames, floor / frames, 1.6))


def workers(folder: Path, frames: int) -> None:
    """Two workers against one; the results must be identical."""
    draw_road(folder, frames)
    benchmark = create("kitti_road/perspective", {})

    def scored(count: int) -> object:
        return run_benchmark(benchmark, folder / "gt", folder / "pred", workers=count).result.values

    one, two = best_of(lambda: scored(1), lambda: scored(2), rounds=3, clock=time.perf_counter)
    same = "identical" if scored(1) == scored(2) else "DIFFERENT"
    print(
        f"kitti_road/perspective, {frames} frames: 1 worker {one / 1000:.2f} s, 2 workers "
        f"{two / 1000:.2f} s, {one / two:.2f} x of 1.70, results {same}"
    )


def best_of(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float]:
    """Milliseconds of both, best of interleaved rounds."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for measured, call in zip(times, (first, second), strict=True):
            start = clock()
            call()
            measured.append(1000 * (clock() - start))
    return min(times[0]), min(times[1])


# ---------------------------------------------------------------------------- drawn frames


def draw_road(folder: Path, frames: int) -> None:
    """Labels, 8-bit confidence and calibration in the official layout."""
    rng = np.random.default_rng(0)
    for part in ("gt", "pred", "calib"):
        (folder / part).mkdir(parents=True)
    height, width = 375, 1242
    rows, columns = np.mgrid[:height, :width]
    for i in range(frames):
        middle, slope = 600 + 40 * rng.normal(), 1.4 + 0.1 * rng.normal()
        road_mask = (np.abs(columns - middle) < (rows - 170) * slope) & (rows > 180)
        label = np.zeros((height, width, 3), np.uint8)
        label[..., 2] = 255
        label[road_mask] = (255, 0, 255)
        label[rows < 20 + 10 * rng.random()] = 0
        soft = cv2.GaussianBlur(road_mask.astype(np.float32) * 255, (0, 0), 7)
        confidence = np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)
        name = f"uu_road_{i:06d}.png"
        cv2.imwrite(str(folder / "gt" / name), label)
        cv2.imwrite(str(folder / "pred" / name), confidence)
        (folder / "calib" / f"uu_{i:06d}.txt").write_text(_calibration(rng))


def draw_cityscapes(folder: Path, frames: int) -> None:
    """Label ids, instance ids and predictions of 1024x2048."""
    rng = np.random.default_rng(0)
    for part in ("gt", "pred"):
        (folder / part).mkdir(parents=True)
    for i in range(frames):
        labels = np.full((1024, 2048), 23, np.uint8)
        for _ in range(60):
            center = (int(rng.integers(2048)), int(rng.integers(1024)))
            axes = tuple(int(v) for v in rng.integers(20, 260, 2))
            kind = int(rng.choice([8, 11, 12, 13, 17, 20, 21, 22]))
            cv2.ellipse(labels, center, axes, float(rng.integers(180)), 0, 360, kind, -1)
        labels[700:] = 7
        instances = labels.astype(np.uint16)
        for n in range(20):
            center = (int(rng.integers(2048)), int(rng.integers(400, 900)))
            axes = tuple(int(v) for v in rng.integers(8, 90, 2))
            kind = int(rng.choice([24, 25, 26, 26, 26, 27, 33]))
            for image, value in ((labels, kind), (instances, kind * 1000 + n)):
                cv2.ellipse(image, center, axes, 0, 0, 360, value, -1)
        noise = (rng.random((64, 128)) < 0.06).astype(np.uint8)
        predicted = np.where(cv2.resize(noise, (2048, 1024)) > 0, 11, np.roll(labels, 3, axis=1))
        stem = f"drawn_000000_{i:06d}"
        cv2.imwrite(str(folder / "gt" / f"{stem}_gtFine_labelIds.png"), labels)
        cv2.imwrite(str(folder / "gt" / f"{stem}_gtFine_instanceIds.png"), instances)
        cv2.imwrite(str(folder / "pred" / f"{stem}_pred.png"), predicted.astype(np.uint8))


def _calibration(rng: np.random.Generator) -> str:
    focal, height = 721 + rng.normal(), 1.65 + 0.02 * rng.normal()
    tilt = 0.01 * rng.normal()
    return (
        f"P2: {focal} 0 609.5 44.8 0 {focal} 172.8 0.2 0 0 1 0.003\n"
        "R0_rect: 1 0 0 0 1 0 0 0 1\n"
        f"Tr_cam_to_road: 1 0 0 0 0 {np.cos(tilt)} {np.sin(tilt)} {-height} "
        f"0 {-np.sin(tilt)} {np.cos(tilt)} 0\n"
    )


if __name__ == "__main__":
    main()
