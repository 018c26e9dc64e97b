"""Calls the CPU kernels with random, odd and wrong input; they must answer or refuse, never crash.

python tests/ops/fuzz.py --calls 100000            with the library as it is
scripts/fuzz_ops.sh 100000                         built with AddressSanitizer and UBSan
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import perception.ops as ops

NUMBERS = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e9, 2.0**31, -1.0, 0.0, -0.0,
           0.5, 1e-30, 3.999, 1e308]  # fmt: skip
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SCORINGS = ("id", "avg", "max", "iou_avg", "generalized_avg", "quasi_sum")
REFUSALS = (ValueError, TypeError)  # a wrong input may end in these and in nothing else


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--library", help="kernels that are to serve (see cuda_on_cpu/build.py)")
    args = parser.parse_args()
    if args.library:
        torch.ops.load_library(args.library)
    start = time.monotonic()
    counts = fuzz(args.calls, args.seed, args.only)
    for name, (answered, refused) in sorted(counts.items()):
        print(f"{name:<24} {answered:>7} answered {refused:>7} refused")
    print(f"{args.calls} calls in {time.monotonic() - start:.0f} s, backend {ops.backend()}")
    return 0


def fuzz(calls: int, seed: int = 0, only: list[str] | None = None) -> dict[str, tuple[int, int]]:
    """Answered and refused calls per op; any other exception is let through."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    names = [name for name in CALLS if not only or name in only]
    answered, refused = Counter[str](), Counter[str]()
    for _ in range(calls):
        name = rng.choice(names)
        try:
            CALLS[name](rng)
            answered[name] += 1
        except REFUSALS:
            refused[name] += 1
    return {name: (answered[name], refused[name]) for name in names}


# ---------------------------------------------------------------------------- input


def number(rng: random.Random, low: float = -20, high: float = 60) -> float:
    return rng.choice(NUMBERS) if rng.random() < 0.08 else rng.uniform(low, high)


def poke(rng: random.Random, x: Tensor) -> None:
    """Puts an odd number somewhere; one that the dtype cannot hold becomes infinite."""
    odd = torch.tensor(rng.choice(NUMBERS), dtype=torch.float64).to(x.dtype)
    x.view(-1)[rng.randrange(x.numel())] = odd


def features(rng: random.Random, multiple: int = 1) -> Tensor:
    channels = rng.choice([0, 1, 1, 2, 3, 5, 17, 33]) * multiple
    size = [rng.choice([0, 1, 1, 2, 3]) if rng.random() < 0.1 else rng.randint(1, 3), channels]
    size += [0 if rng.random() < 0.02 else rng.randint(1, 12) for _ in range(2)]
    x = torch.randn(size).to(rng.choice(FLOATS))
    if rng.random() < 0.1 and x.numel():
        poke(rng, x)
    return rearranged(rng, x)


def rearranged(rng: random.Random, x: Tensor) -> Tensor:
    """The same shape in another memory layout."""
    kind = rng.randrange(6)
    if kind == 0:
        return x.contiguous(memory_format=torch.channels_last)
    if kind == 1:
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    if kind == 2:
        big = torch.full((*x.shape[:3], 2 * x.shape[3] + 1), float("nan"), dtype=x.dtype)
        return big[..., 1::2].copy_(x)
    if kind == 3:
        return x[:, :1].expand(x.shape) if x.shape[1] else x
    if kind == 4:
        return x.flip(0)[..., :].permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)
    return x


def rois(rng: random.Random, images: int) -> Tensor:
    rows = []
    for _ in range(rng.choice([0, 1, 1, 2, 3, 7])):
        index = number(rng) if rng.random() < 0.02 else rng.randrange(max(images, 1))
        rows.append([index, *(number(rng) for _ in range(4))])
    table = torch.tensor(rows, dtype=rng.choice([torch.float32, torch.float64])).reshape(-1, 5)
    if rng.random() < 0.2:
        return torch.stack([table, table], dim=2)[:, :, 0]  # with strides
    return table.to(torch.float16) if rng.random() < 0.05 else table


def table(rng: random.Random, count: int, columns: int) -> Tensor:
    rows = [[number(rng) for _ in range(columns)] for _ in range(count)]
    return torch.tensor(rows).reshape(-1, columns).to(rng.choice(FLOATS))


def size(rng: random.Random) -> tuple[int, int]:
    if rng.random() < 0.03:
        return rng.choice([(0, 0), (-1, 2), (1, 40)])
    return rng.randint(1, 4), rng.randint(1, 4)


def scale(rng: random.Random) -> float:
    return rng.choice(NUMBERS) if rng.random() < 0.02 else rng.choice([1.0, 0.5, 0.3, 2.0])


def sampling(rng: random.Random) -> int:
    return rng.choice([-1, 0, 0, 1, 2, 2, 3, 7, 500, 65535, 65536])


def backward(out: Tensor) -> None:
    if out.requires_grad:
        upper = torch.randn_like(out)
        out.backward(upper if out.numel() % 2 else upper.sum().expand(out.shape))


# ---------------------------------------------------------------------------- calls


def roi_align(rng: random.Random) -> None:
    x = features(rng).requires_grad_(rng.random() < 0.5)
    backward(
        ops.roi_align(
            x, rois(rng, len(x)), size(rng), scale(rng), sampling(rng), rng.random() < 0.5
        )
    )


def roi_pool(rng: random.Random) -> None:
    x = features(rng).requires_grad_(rng.random() < 0.5)
    backward(ops.roi_pool(x, rois(rng, len(x)), size(rng), scale(rng)))


def ps_roi_align(rng: random.Random) -> None:
    bins = size(rng)
    x = features(rng, max(bins[0] * bins[1], 1)).requires_grad_(rng.random() < 0.5)
    backward(ops.ps_roi_align(x, rois(rng, len(x)), bins, scale(rng), sampling(rng)))


def ps_roi_pool(rng: random.Random) -> None:
    bins = size(rng)
    x = features(rng, max(bins[0] * bins[1], 1)).requires_grad_(rng.random() < 0.5)
    backward(ops.ps_roi_pool(x, rois(rng, len(x)), bins, scale(rng)))


def multi_level_roi_align(rng: random.Random) -> None:
    first = features(rng)
    maps = [first, *(torch.rand(*first.shape[:2], 3, 4).to(first.dtype) for _ in range(2))]
    maps = [m.requires_grad_(rng.random() < 0.5) for m in maps]
    boxes = rois(rng, len(first))
    levels = torch.randint(-1 if rng.random() < 0.1 else 0, 3, (len(boxes),))
    backward(
        ops.multi_level_roi_align(
            maps,
            boxes,
            size(rng),
            [0.5, 0.25, 0.125],
            sampling(rng),
            rng.random() < 0.5,
            levels=levels if rng.random() < 0.3 else None,
        )
    )


def rezoom(rng: random.Random) -> None:
    x = features(rng).requires_grad_(rng.random() < 0.5)
    boxes = rois(rng, len(x))
    offsets = [number(rng, -1, 1) for _ in range(rng.randint(0, 4))]
    backward(ops.rezoom(x, boxes, offsets, (0.0, 0.5), scale(rng)))


def suppression(op: Callable[..., object]) -> Callable[[random.Random], None]:
    def run(rng: random.Random) -> None:
        count = rng.choice([0, 1, 2, 5, 40, 300])
        boxes = table(rng, count, 5 if op is ops.nms_rotated else 4)
        scores = table(rng, count, 1)[:, 0] if rng.random() < 0.98 else torch.rand(count + 1)
        more = (torch.randint(-3, 3, (count,)),) if op is ops.batched_nms else ()
        if op is ops.soft_nms:
            op(boxes, scores, rng.choice(["gaussian", "linear", "hard"]))
        else:
            room = {"max_output": rng.choice([-1, 0, 3, 50, 400])} if rng.random() < 0.3 else {}
            room = {} if op is ops.nms_rotated else room
            op(boxes, scores, *more, rng.choice([0.0, 0.3, 0.5, 1.0, float("nan"), -1.0]), **room)

    return run


def box_voting(rng: random.Random) -> None:
    kept, count = rng.choice([0, 1, 2, 9]), rng.choice([0, 1, 2, 5, 40, 300])
    tables = [table(rng, kept, 4), table(rng, kept, 1)[:, 0]]
    tables += [table(rng, count, 4), table(rng, count, 1)[:, 0]]
    if rng.random() < 0.5:
        tables[0] = tables[2][:kept]
        tables[1] = tables[3][:kept]
    ops.box_voting(
        *tables,
        rng.choice([0.0, 0.3, 0.5, 1.0, float("nan")]),
        rng.choice([*SCORINGS, "sum"]),
        number(rng, -2, 3),
    )


def overlap(op: Callable[[Tensor, Tensor], Tensor], columns: int) -> Callable[..., None]:
    def run(rng: random.Random) -> None:
        pair = (table(rng, rng.randint(0, 9), columns) for _ in range(2))
        a, b = (each.float().requires_grad_(columns == 4 and rng.random() < 0.3) for each in pair)
        backward(op(a, b))

    return run


def deform_conv2d(rng: random.Random) -> None:
    x, taps = torch.randn(rng.randint(0, 2), 4, rng.randint(1, 7), rng.randint(1, 7)), 9
    stride, padding, dilation = rng.choice([0, 1, 1, 2]), rng.randint(0, 2), rng.randint(1, 2)
    step = max(stride, 1)
    out = [(n + 2 * padding - 2 * dilation - 1) // step + 1 for n in x.shape[2:]]
    groups = rng.choice([1, 2])
    offset = torch.randn(len(x), 2 * groups * taps, *(max(n, 0) for n in out)) * 3
    if offset.numel() and rng.random() < 0.5:
        poke(rng, offset)
    mask = torch.rand(len(x), groups * taps, *offset.shape[2:]) if rng.random() < 0.5 else None
    weight = torch.randn(6, rng.choice([4, 2, 3]), 3, 3)
    dtype = rng.choice(FLOATS)
    leaves = [t.to(dtype).requires_grad_(rng.random() < 0.5) for t in (x, offset, weight)]
    backward(
        ops.deform_conv2d(
            *leaves, None, stride, padding, dilation, None if mask is None else mask.to(dtype)
        )
    )


def deform_roi_pool(rng: random.Random) -> None:
    x, bins = features(rng).requires_grad_(rng.random() < 0.5), size(rng)
    boxes = rois(rng, len(x))
    offset = torch.randn(len(boxes), 2, max(bins[0], 0), max(bins[1], 0)).to(x.dtype)
    if offset.numel() and rng.random() < 0.3:
        poke(rng, offset)
    given = offset if rng.random() < 0.8 else None
    backward(ops.deform_roi_pool(x, boxes, given, bins, scale(rng), rng.choice([0, 1, 2])))


def deform_ps_roi_pool(rng: random.Random) -> None:
    bins, outputs = rng.randint(1, 3), rng.randint(1, 3)
    x = torch.randn(2, outputs * bins * bins, rng.randint(1, 9), rng.randint(1, 9))
    x = rearranged(rng, x.to(rng.choice(FLOATS))).requires_grad_(rng.random() < 0.5)
    boxes = rois(rng, len(x))
    offset = torch.randn(len(boxes), 2, bins, bins).to(x.dtype)
    if offset.numel() and rng.random() < 0.3:
        poke(rng, offset)
    backward(
        ops.deform_ps_roi_pool(
            x, boxes, offset if rng.random() < 0.8 else None, bins, scale(rng), output_dim=outputs
        )
    )


CALLS: dict[str, Callable[[random.Random], None]] = {
    "roi_align": roi_align,
    "roi_pool": roi_pool,
    "ps_roi_align": ps_roi_align,
    "ps_roi_pool": ps_roi_pool,
    "multi_level_roi_align": multi_level_roi_align,
    "rezoom": rezoom,
    "nms": suppression(ops.nms),
    "batched_nms": suppression(ops.batched_nms),
    "soft_nms": suppression(ops.soft_nms),
    "nms_rotated": suppression(ops.nms_rotated),
    "box_voting": box_voting,
    "box_iou": overlap(ops.box_iou, 4),
    "generalized_box_iou": overlap(ops.generalized_box_iou, 4),
    "distance_box_iou": overlap(ops.distance_box_iou, 4),
    "complete_box_iou": overlap(ops.complete_box_iou, 4),
    "box_iou_rotated": overlap(ops.box_iou_rotated, 5),
    "deform_conv2d": deform_conv2d,
    "deform_roi_pool": deform_roi_pool,
    "deform_ps_roi_pool": deform_ps_roi_pool,
}


if __name__ == "__main__":
    sys.exit(main())
