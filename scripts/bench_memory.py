"""Peak memory of `perception score` with few and with many images: it may grow only by records.

    python scripts/bench_memory.py [--few 50] [--many 1000]

Some frames are drawn and hard-linked under many names; every run is a process of its own, pages
and JSON written. A record holds a histogram or a confusion and a row for each instance.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_evaluators import draw_cityscapes, draw_road

DRAWN = 4  # different frames
RUNS = (
    ("kitti_road/perspective", 1),
    ("kitti_road/bev", 1),
    ("kitti_road/bev", 2),
    ("cityscapes/pixel", 1),
    ("cityscapes/pixel", 2),
)
PEAK = """
import resource, sys
from perception.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", type=int, default=50)
    parser.add_argument("--many", type=int, default=1000)
    args = parser.parse_args()
    print(f"{'benchmark':<24} workers  MiB at {args.few}, at {args.many}  KiB for each image more")
    with tempfile.TemporaryDirectory() as name:
        drawn = Path(name)
        draw_road(drawn / "kitti_road", DRAWN)
        draw_cityscapes(drawn / "cityscapes", DRAWN)
        for benchmark, workers in RUNS:
            source = drawn / benchmark.split("/")[0]
            peaks = [peak(source, benchmark, n, workers) for n in (args.few, args.many)]
            each = (peaks[1] - peaks[0]) / (args.many - args.few)
            print(
                f"{benchmark:<24} {workers:^7}  {peaks[0] >> 10:9d}  {peaks[1] >> 10:9d}  "
                f"{each:8.1f}"
            )


def peak(source: Path, benchmark: str, frames: int, workers: int) -> int:
    """KiB of the process that scores `frames` images, without its workers."""
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        folder = Path(name)
        for path in source.rglob("*.*"):
            link(path, folder / path.relative_to(source), frames)
        words = [
            "score",
            benchmark,
            "--gt",
            str(folder / "gt"),
            "--pred",
            str(folder / "pred"),
            "--json",
            str(folder / "a.json"),
            "--html",
            str(folder / "a.html"),
            "--workers",
            str(workers),
        ]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        return int(done.stderr.split()[-1])


def link(path: Path, target: Path, frames: int) -> None:
    """Hard links of one drawn file, under the numbers of every fourth frame."""
    target.parent.mkdir(parents=True, exist_ok=True)
    words = path.stem.split("_")
    place = max(i for i, word in enumerate(words) if word.isdigit())
    for copy in range(int(words[place]), frames, DRAWN):
        words[place] = f"{copy:06d}"
        os.link(path, target.with_name("_".join(words) + path.suffix))


if __name__ == "__main__":
    main()
