"""Cases of bench_ops.py: suppression, overlaps, deformable convolution."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import torch
from ops_case import Bar, Call, Case
from torch import Tensor

import perception.ops as ops
from perception.ops import reference

OVERLAPS: list[tuple[str, Bar]] = [
    ("box_iou", (8, 5)),
    ("generalized_box_iou", (15, 5)),
    ("distance_box_iou", (15, 5)),
    ("complete_box_iou", (8, 5)),
]


def detections(count: int, device: str) -> tuple[Tensor, Tensor]:
    """60 clusters of jittered boxes and 40 % clutter on 1248 x 384 pixels, as a detector gives."""
    rng = torch.Generator().manual_seed(0)
    image, many = torch.tensor([1248.0, 384.0]), int(count * 0.6)
    place = torch.rand(60, 2, generator=rng) * image
    extent = torch.rand(60, 2, generator=rng) * 100 + 20
    near = torch.randint(60, (many,), generator=rng)
    jitter = torch.randn(2, many, 2, generator=rng) * 0.15
    centre = torch.cat(
        [place[near] + jitter[0] * extent[near], torch.rand(count - many, 2, generator=rng) * image]
    )
    size = torch.cat(
        [extent[near] * jitter[1].exp(), torch.rand(count - many, 2, generator=rng) * 60 + 10]
    )
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    return boxes.to(device), torch.rand(count, generator=rng).to(device)


def clutter(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Boxes of 4 to 64 pixels anywhere."""
    rng = torch.Generator().manual_seed(0)
    centre = torch.rand(count, 2, generator=rng) * torch.tensor([1248.0, 384.0])
    size = torch.rand(count, 2, generator=rng) * 60 + 4
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    return boxes.to(device), torch.rand(count, generator=rng).to(device)


def nms_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    rows: list[tuple[int, float, Bar]] = [
        (10, 0.5, (1, 1)), (1000, 0.5, (15, 12)), (5000, 0.5, (12, 8)), (5000, 0.7, (12, 8)),
        (20000, 0.5, (18, 11)), (20000, 0.7, (18, 10)),
    ]  # fmt: skip
    for count, threshold, bar in rows:
        boxes, scores = detections(count, device)
        yield nms_case(
            f"nms {count} detector-like, {threshold}", vision, boxes, scores, threshold, bar
        )
    yield nms_case("nms 20000 clutter, 0.5", vision, *clutter(20000, device), 0.5, (25, 15))


def nms_case(
    name: str, vision: ModuleType | None, boxes: Tensor, scores: Tensor, threshold: float, bar: Bar
) -> Case:
    theirs = vision.ops.nms if vision is not None else reference.nms
    return Case(
        name,
        lambda: ops.nms(boxes, scores, threshold),
        lambda: theirs(boxes, scores, threshold),
        bar,
    )


def batched_nms_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    theirs = vision.ops.batched_nms if vision is not None else reference.batched_nms
    bars: list[tuple[int, Bar]] = [(1000, (5, 4)), (5000, (6, 5)), (20000, (8, 6))]
    for count, bar in bars:
        boxes, scores = detections(count, device)
        idxs = torch.arange(count, device=device) % 8
        yield Case(
            f"batched_nms {count}, 8 classes, 0.5",
            lambda b=boxes, s=scores, i=idxs: ops.batched_nms(b, s, i, 0.5),
            lambda b=boxes, s=scores, i=idxs: theirs(b, s, i, 0.5),
            bar,
        )


def gpu_suppression_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    """What only a GPU is asked for: very many boxes, and soft suppression beside the CPU's."""
    if device != "cuda":
        return
    boxes, scores = detections(100_000, device)
    theirs = vision.ops.nms if vision is not None else ops.nms
    yield Case(
        f"nms 100000 detector-like, 0.5, max_output=1000 beside {'their' if vision else 'our'} nms",
        lambda: ops.nms(boxes, scores, 0.5, max_output=1000),
        lambda: theirs(boxes, scores, 0.5),
    )
    few, few_scores = detections(2000, device)
    for method in ("gaussian", "hard"):
        yield Case(
            f"soft_nms 2000 detector-like, {method} beside a copy to the CPU and soft_nms there",
            lambda m=method: ops.soft_nms(few, few_scores, m),
            lambda m=method: ops.soft_nms(few.cpu(), few_scores.cpu(), m),
        )
    kept = ops.nms(few, few_scores, 0.5)
    yield Case(
        f"box_voting {len(kept)} of 2000 beside a copy to the CPU and box_voting there",
        lambda: ops.box_voting(few[kept], few_scores[kept], few, few_scores),
        lambda: ops.box_voting(*(x.cpu() for x in (few[kept], few_scores[kept], few, few_scores))),
    )


def overlap_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    a, b = detections(1000, device)[0], clutter(1000, device)[0]
    moved = 4 * 1000 * 1000
    for name, bar in OVERLAPS:
        ours = getattr(ops, name)
        eps = (1e-7,) if name.startswith(("distance", "complete")) else ()
        plain = getattr(vision.ops if vision is not None else reference, name)
        yield Case(
            f"{name} 1000x1000",
            lambda f=ours: f(a, b),
            lambda f=plain, eps=eps: f(a, b, *eps),
            bar,
            moved,
            lambda f=ours: f(a.double(), b.double()),
        )
    yield rotated_case(vision, a, b, device)


def rotated_case(vision: ModuleType | None, a: Tensor, b: Tensor, device: str) -> Case:
    angle = torch.rand(2, 1000, 1, generator=torch.Generator().manual_seed(3)).to(device) * 360
    first, second = (
        torch.cat([(x[:, :2] + x[:, 2:]) / 2, x[:, 2:] - x[:, :2], turn], dim=1)
        for x, turn in zip((a, b), angle, strict=True)
    )
    theirs: Call = lambda: reference.box_iou_rotated(first, second)  # noqa: E731
    if vision is not None:
        theirs = lambda: vision.ops.box_iou(first, second, fmt="cxcywhr")  # noqa: E731
    ours: Call = lambda: ops.box_iou_rotated(first, second)  # noqa: E731
    truth: Call = lambda: ops.box_iou_rotated(first.double(), second.double())  # noqa: E731
    return Case("box_iou_rotated 1000x1000", ours, theirs, (5, 3), 4e6, truth)


def deform_conv_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    rng = torch.Generator().manual_seed(4)
    shapes = (1, 256, 64, 64), (1, 18, 64, 64), (256, 256, 3, 3), (256,), (1, 9, 64, 64)
    x, offset, weight, bias, mask = (torch.randn(s, generator=rng).to(device) for s in shapes)
    weight = weight / 48

    def ours(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        return ops.deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)

    def theirs(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        if vision is None:
            return reference.deform_conv2d(x, offset, weight, bias, mask, *([1, 1],) * 3)
        return vision.ops.deform_conv2d(x, offset, weight, bias, padding=(1, 1), mask=mask)

    given = x, offset, weight, bias, mask
    last = (x.contiguous(memory_format=torch.channels_last), *given[1:])
    text = "v2 256->256 64x64 3x3"
    bars: list[tuple[str, tuple[Tensor, ...], Bar]] = [
        ("NCHW", given, (4.5, 2.8)),
        ("CL", last, (None, None)),
    ]
    for layout, tensors, bar in bars:
        yield Case(
            f"deform_conv2d {layout} {text}",
            lambda t=tensors: ours(*t),
            lambda: theirs(*given),
            bar,
            0,
            lambda: ours(*(t.double() for t in given)),
        )

    def gradients(f: Call, *tensors: Tensor) -> Call:
        leaves = [t.detach().requires_grad_() for t in tensors]
        out = f(*leaves)
        upper = torch.ones_like(out)
        return lambda: torch.autograd.grad(out, leaves, upper, retain_graph=True)[0]

    yield Case(
        f"deform_conv2d NCHW {text}, backward, all gradients",
        gradients(ours, *given),
        gradients(theirs, *given),
        (8, 5),
        0,
        gradients(ours, *(t.double() for t in given)),
    )


FAMILIES = (nms_cases, batched_nms_cases, gpu_suppression_cases, overlap_cases, deform_conv_cases)
