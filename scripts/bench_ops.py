"""Times the ops beside torchvision's, pairs alternating in one process, and prints a table.

    python scripts/bench_ops.py [--torchvision DIR] [--device cpu|cuda] [--only WORDS] [--rounds N]
                                [--threads 2 1] [--markdown FILE]

torchvision is the yardstick: the installed one, or `--torchvision DIR` (pip install --target DIR;
beside a CPU build of torch the loader `torchvision_cpu.py` is needed: on the path, in
`$TORCHVISION_LOADER`, or in the sibling folder `../shared/tools`). Without it the PyTorch
definitions are the yardstick, and the table says so.

Columns: ms of ours and of the yardstick (medians), their ratio, the bar where there is one, the
floor (bytes that must move, at the speed of a copy measured here), and the largest error against
float64.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ops_case import Case
from ops_cases import all_cases

import perception.ops as ops

LOADERS = ("../shared/tools",)


def main() -> int:
    args = arguments()
    torch.manual_seed(0)
    vision, yardstick = find_yardstick(args.torchvision)
    gigabytes = {n: copy_speed(args.device, n) for n in args.threads}
    lines = [
        f"# {describe(args.device)}, yardstick: {yardstick}",
        f"# ours: {ops.backend()} {ops._native.STATUS.isa or ''}; copy speed "
        + ", ".join(f"{value:.0f} GB/s with {n} thread(s)" for n, value in gigabytes.items()),
        "| case | threads | ours ms | yardstick ms | ratio | bar | floor ms | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    missed = 0
    for case in all_cases(vision, args.device):
        if args.only and not any(word in case.name for word in args.only):
            continue
        for threads in args.threads:
            torch.set_num_threads(threads)
            line, met = measure(case, threads, args.rounds, args.device, gigabytes[threads])
            missed += not met
            lines.append(line)
            print(line, flush=True)
    print(f"# {missed} below their bar")
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchvision", type=Path, default=os.environ.get("TORCHVISION_FOLDER"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", nargs="*", help="cases whose name contains one of these words")
    parser.add_argument("--rounds", type=int, default=7, help="pairs per case")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    args = parser.parse_args()
    if args.device == "cuda":
        args.threads = args.threads[:1]
    return args


def find_yardstick(folder: Path | None) -> tuple[ModuleType | None, str]:
    """(torchvision or None, what to call the yardstick)."""
    places = [os.environ.get("TORCHVISION_LOADER"), *LOADERS]
    root = Path(__file__).resolve().parents[1]
    sys.path += [str((root / place).resolve()) for place in places if place]
    try:
        if folder is None:
            vision = importlib.import_module("torchvision")
        elif torch.version.cuda:
            sys.path.insert(0, str(folder))
            vision = importlib.import_module("torchvision")
        else:
            vision = importlib.import_module("torchvision_cpu").load(folder)
        vision.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    except (ImportError, OSError, RuntimeError) as error:
        return None, f"the PyTorch definitions (no torchvision: {str(error).splitlines()[0]})"
    return vision, f"torchvision {vision.__version__}"


def measure(
    case: Case, threads: int, rounds: int, device: str, gigabytes: float
) -> tuple[str, bool]:
    """One line of the table, and whether the bar is met (True where there is none)."""
    error = case.error() if threads >= 2 or device == "cuda" else None
    timer = time_cuda if device == "cuda" else time_cpu
    known = runs(case.yardstick)
    ours, theirs = [], []
    timer(case.ours)
    for _ in range(rounds):
        if known:
            theirs.append(timer(case.yardstick))
        ours.append(timer(case.ours))
    a = statistics.median(ours)
    b = statistics.median(theirs) if known else math.nan
    bar = None if device == "cuda" else (case.bar[0] if threads >= 2 else case.bar[1])
    floor = case.bytes / gigabytes / 1e6 if case.bytes else None
    digits = 4 if device == "cuda" else 3
    cells = [
        case.name,
        str(threads),
        f"{a:.{digits}f}",
        f"{b:.{digits}f}" if known else "none",
        f"{b / a:.1f}" if known else "",
        "" if bar is None else f"{bar:g}",
        "" if floor is None else f"{floor:.2g}",
        "" if error is None else f"{error:.1e}",
    ]
    return "| " + " | ".join(cells) + " |", bar is None or b / a >= bar


def runs(f: Callable[[], Any]) -> bool:
    """Whether the yardstick has this op here; older ones lack some, others some on GPUs."""
    try:
        f()
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        print(f"# no yardstick: {str(error).splitlines()[0]}", flush=True)
        return False
    return True


def time_cpu(f: Callable[[], Any]) -> float:
    """Milliseconds of one call; short calls are repeated for about a millisecond."""
    start = time.perf_counter()
    f()
    once = time.perf_counter() - start
    repeats = max(1, min(200, int(1e-3 / max(once, 1e-7))))
    if repeats == 1:
        return once * 1e3
    start = time.perf_counter()
    for _ in range(repeats):
        f()
    return (time.perf_counter() - start) / repeats * 1e3


def time_cuda(f: Callable[[], Any]) -> float:
    """Milliseconds of one call by CUDA events: median of 50 after 10, caches flushed in between."""
    flush = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    times = []
    for i in range(60):
        flush.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        f()
        end.record()
        torch.cuda.synchronize()
        if i >= 10:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def copy_speed(device: str, threads: int) -> float:
    """GB/s of a copy, reading and writing counted."""
    torch.set_num_threads(threads)
    source = torch.ones(32 << 20, device=device)
    target = torch.empty_like(source)
    timer = time_cuda if device == "cuda" else time_cpu
    best = min(timer(lambda: target.copy_(source)) for _ in range(5))
    return 2 * source.numel() * 4 / best / 1e6


def describe(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}"


def processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        yield from path.read_text().splitlines()


if __name__ == "__main__":
    sys.exit(main())
