"""Frames per second of `perception synthesize` on one core, writing included.

python scripts/bench_synthesis.py [--frames 20] [--size 1242x375 416x128]

Seconds are of processor time, so that another program on the machine does not count; elapsed
time is printed beside them. The first frames, which make the textures, are left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2

from perception.synthesis.annotate import annotate
from perception.synthesis.dataset import Request, make_frame
from perception.synthesis.render import render
from perception.synthesis.scene import draw_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", nargs="+", default=["1242x375", "416x128"])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'size':>10} {'frames/s':>9} {'elapsed':>9}   draw, paint, label, write (ms)")
    for text in args.size:
        width, height = (int(word) for word in text.split("x"))
        whole, elapsed, steps = measure(args.frames, width, height)
        print(f"{text:>10} {whole:9.1f} {elapsed:9.1f}   {steps}")


def measure(frames: int, width: int, height: int) -> tuple[float, float, str]:
    request = Request(10_000, 0, 0, width, height)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(6):
            make_frame(Path(folder), request, 1000 + index)
        cpu, wall = time.process_time(), time.perf_counter()
        for index in range(frames):
            make_frame(Path(folder), request, index)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    drawn = painted = labelled = 0.0
    for index in range(frames):
        start = time.process_time()
        scene = draw_scene(0, index, (height, width))
        after_scene = time.process_time()
        rendering = render(scene)
        after_render = time.process_time()
        annotate(scene, rendering)
        drawn += after_scene - start
        painted += after_render - after_scene
        labelled += time.process_time() - after_render
    each = [1000 * part / frames for part in (drawn, painted, labelled)]
    each.append(1000 * cpu / frames - sum(each))
    return frames / cpu, frames / wall, ", ".join(f"{ms:.1f}" for ms in each)


if __name__ == "__main__":
    main()
