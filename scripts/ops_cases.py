"""The cases of bench_ops.py: inputs, our call, the yardstick's call, the bar, the floor.

A family of cases is a function (torchvision or None, device) -> cases; `FAMILIES` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import ops_cases_boxes
import ops_cases_cuda
import torch
from ops_case import Call, Case, boxes_on, features_of, last, scale_of
from torch import Tensor
from torch.nn import functional as F

import perception.ops as ops
from perception.ops import reference


def all_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    """Every case, built when it is its turn."""
    gpu_only = ops_cases_cuda.FAMILIES if device == "cuda" else ()
    for family in (*FAMILIES, *ops_cases_boxes.FAMILIES, *gpu_only):
        yield from family(vision, device)


# ---------------------------------------------------------------------------- families

# map, boxes, output, sampling, bars (channels-last), bars (contiguous)
ALIGN = [
    ((256, 50, 68), 512, 7, 2, (30, 18), (15, 10)),
    ((256, 50, 68), 1000, 7, 2, (20, 13), (14, 10)),
    ((256, 50, 68), 512, 14, 2, (25, 15), (18, 11)),
    ((256, 48, 156), 512, 7, 2, (25, 15), (14, 8)),
    ((256, 200, 272), 512, 7, 2, (14, 10), (6, 5)),
    ((256, 200, 272), 1000, 7, 2, (None, None), (8, 6)),
    ((256, 200, 272), 512, 7, 0, (25, 14), (16, 10)),
]


def roi_align_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    for shape, count, size, sampling, bar_last, bar_plain in ALIGN:
        x, scale = features_of(*shape, device), scale_of(shape[1])
        boxes = boxes_on(*shape[1:], count, scale, device)
        settings = (scale, sampling)
        theirs = vision_align(vision, x, boxes, size, *settings)
        moved = 4 * (x.numel() + count * shape[0] * size * size)
        text = f"C{shape[0]} {shape[1]}x{shape[2]}, {count} boxes {size}x{size}, s{sampling}"
        for name, given, bar in (("CL", last(x), bar_last), ("NCHW", x, bar_plain)):
            yield Case(
                f"roi_align {name} {text}",
                lambda x=given, b=boxes, n=size, s=settings: ops.roi_align(x, b, n, *s),
                theirs,
                bar,
                moved,
                lambda x=x, b=boxes, n=size, s=settings: ops.roi_align(x.double(), b, n, *s),
            )
    x, box = features_of(16, 16, 16, device), torch.tensor([[0, 2.0, 2, 9, 9]], device=device)
    yield Case(
        "roi_align NCHW 1 box on C16 16x16 7x7, s2",
        lambda: ops.roi_align(x, box, 7, 1.0, 2),
        vision_align(vision, x, box, 7, 1.0, 2),
        (1, 1),
    )


def vision_align(
    vision: ModuleType | None, x: Tensor, boxes: Tensor, size: int, scale: float, sampling: int
) -> Call:
    if vision is not None:
        return lambda: vision.ops.roi_align(x, boxes, size, scale, sampling)
    return lambda: reference.roi_align(x, boxes, scale, size, size, sampling, False)


def gradient(f: Callable[[Tensor], Tensor], x: Tensor, *, channels_last: bool) -> Call:
    """The backward pass alone of f at x, for a gradient of ones in x's layout."""
    leaf = x.detach().requires_grad_()
    out = f(leaf)
    upper = torch.ones_like(out)
    upper = last(upper) if channels_last else upper.contiguous()
    return lambda: torch.autograd.grad(out, leaf, upper, retain_graph=True)[0]


def roi_align_backward_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    for shape, bar in (((256, 50, 68), (30, 30)), ((256, 200, 272), (10, 7))):
        x, scale = features_of(*shape, device), scale_of(shape[1])
        boxes = boxes_on(*shape[1:], 512, scale, device)

        def ours(x: Tensor, boxes: Tensor = boxes, scale: float = scale) -> Tensor:
            return ops.roi_align(x, boxes, 7, scale, 2)

        def theirs(x: Tensor, boxes: Tensor = boxes, scale: float = scale) -> Tensor:
            return vision.ops.roi_align(x, boxes, 7, scale, 2)

        plain = gradient(theirs if vision else ours, x, channels_last=False)
        moved = 4 * (x.numel() + 512 * shape[0] * 49)
        text = f"backward C256 {shape[1]}x{shape[2]}, 512 boxes 7x7, s2"
        truth = gradient(ours, x.double(), channels_last=False)
        yield Case(
            f"roi_align CL {text}",
            gradient(ours, last(x), channels_last=True),
            plain,
            bar,
            moved,
            truth,
        )
        yield Case(
            f"roi_align NCHW {text}",
            gradient(ours, x, channels_last=False),
            plain,
            (None, None),
            moved,
            truth,
        )


def multi_level_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    maps = [features_of(256, int(800 * s), int(1088 * s), device) for s in scales]
    boxes = boxes_on(800, 1088, 1000, 1.0, device)
    if vision is None:
        theirs: Call = lambda: reference.multi_level_roi_align(  # noqa: E731
            maps, boxes, None, scales, 7, 7, 2, False, 224.0, 4
        )
    else:
        pooler = vision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
        named, listed = dict(zip("0123", maps, strict=True)), [boxes[:, 1:]]
        theirs = lambda: pooler(named, listed, [(800, 1088)])  # noqa: E731
    moved = 4 * (sum(m.numel() for m in maps) + 1000 * 256 * 49)
    for name, given, bar in (
        ("CL", [last(m) for m in maps], (12, 12)),
        ("NCHW", maps, (None,) * 2),
    ):
        yield Case(
            f"multi_level_roi_align {name} C256, 4 levels of 800x1088, 1000 boxes 7x7, s2",
            lambda f=given: ops.multi_level_roi_align(f, boxes, 7, scales, 2),
            theirs,
            bar,
            moved,
            lambda: ops.multi_level_roi_align([m.double() for m in maps], boxes, 7, scales, 2),
        )


def roi_pool_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    for shape, bar in (((256, 50, 68), (10, 10)), ((256, 200, 272), (9, 5))):
        x, scale = features_of(*shape, device), scale_of(shape[1])
        boxes = boxes_on(*shape[1:], 512, scale, device)
        theirs: Call = (
            (lambda x=x, b=boxes, s=scale: vision.ops.roi_pool(x, b, 7, s))
            if vision
            else (lambda x=x, b=boxes, s=scale: reference.roi_pool(x, b, s, 7, 7))
        )
        moved = 4 * (x.numel() + 2 * 512 * shape[0] * 49)
        for name, given, need in (("CL", last(x), bar), ("NCHW", x, (None, None))):
            yield Case(
                f"roi_pool {name} C256 {shape[1]}x{shape[2]}, 512 boxes 7x7",
                lambda x=given, b=boxes, s=scale: ops.roi_pool(x, b, 7, s),
                theirs,
                need,
                moved,
                lambda x=x, b=boxes, s=scale: ops.roi_pool(x.double(), b, 7, s),
            )


def position_sensitive_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    rows = [
        ("ps_roi_align", (490, 50, 68), (2.5, 1.5)), ("ps_roi_align", (490, 200, 272), (2, 1.3)),
        ("ps_roi_pool", (490, 50, 68), (2, 1.3)), ("ps_roi_pool", (490, 200, 272), (2, 1.2)),
    ]  # fmt: skip
    for op, shape, bar in rows:
        x, scale = features_of(*shape, device), scale_of(shape[1])
        boxes = boxes_on(*shape[1:], 512, scale, device)
        sampling = (2,) if op == "ps_roi_align" else ()
        ours = getattr(ops, op)
        theirs: Call = (
            (lambda f=op, x=x, b=boxes, s=scale, n=sampling: getattr(vision.ops, f)(x, b, 7, s, *n))
            if vision
            else (
                lambda f=op, x=x, b=boxes, s=scale, n=sampling: getattr(reference, f)(
                    x, b, s, 7, 7, *n
                )
            )
        )
        yield Case(
            f"{op} NCHW C490 {shape[1]}x{shape[2]}, 512 boxes 7x7",
            lambda f=ours, x=x, b=boxes, s=scale, n=sampling: f(x, b, 7, s, *n),
            theirs,
            bar,
            0,
            lambda f=ours, x=x, b=boxes, s=scale, n=sampling: f(x.double(), b, 7, s, *n),
        )


def rezoom_cases(_: ModuleType | None, device: str) -> Iterator[Case]:
    """The yardstick is torch's grid_sample at the same points."""
    x = features_of(256, 48, 156, device)
    rng = torch.Generator().manual_seed(2)
    center = torch.rand(468, 2, generator=rng) * torch.tensor([1248.0, 384.0])
    size = 16 + torch.rand(468, 2, generator=rng) * 200
    boxes = torch.cat([torch.zeros(468, 1), center, size], dim=1).to(device)
    quarter = torch.tensor([-0.25, 0, 0.25], device=device)
    px = (boxes[:, 1, None, None] + quarter[:, None] * boxes[:, 3, None, None]) / 8
    py = (boxes[:, 2, None, None] + quarter * boxes[:, 4, None, None]) / 8
    shape = (468, 3, 3)
    grid = torch.stack([px.expand(shape) / 155 * 2 - 1, py.expand(shape) / 47 * 2 - 1], dim=-1)
    grid = grid.reshape(1, 468, 9, 2).contiguous()

    def sample(x: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(x, grid, padding_mode="border", align_corners=True)

    def both(f: Callable[..., Tensor], *leaves: Tensor) -> Call:
        leaves = tuple(leaf.detach().requires_grad_() for leaf in leaves)
        out = f(*leaves)
        upper = torch.ones_like(out)
        return lambda: torch.autograd.grad(out, leaves, upper, retain_graph=True)[0]

    moved = 4 * (468 * 9 * 256 * 2)
    text = "C256 48x156, 468 cells x 9 points"
    last_x = last(x)
    yield Case(
        f"rezoom CL {text}",
        lambda: ops.rezoom(last_x, boxes),
        lambda: sample(x, grid),
        (1.5, 1.2),
        moved,
        lambda: ops.rezoom(x.double(), boxes),
    )
    yield Case(
        f"rezoom NCHW {text}",
        lambda: ops.rezoom(x, boxes),
        lambda: sample(x, grid),
        (None, None),
        moved,
        lambda: ops.rezoom(x.double(), boxes),
    )
    yield Case(
        f"rezoom CL backward (features, boxes) {text}",
        both(ops.rezoom, last_x, boxes),
        both(sample, x, grid),
        (6, 4),
        0,
        both(ops.rezoom, x.double(), boxes),
    )


FAMILIES = (
    roi_align_cases,
    roi_align_backward_cases,
    multi_level_cases,
    roi_pool_cases,
    position_sensitive_cases,
    rezoom_cases,
)
