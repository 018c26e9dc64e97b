"""Cases of bench_ops.py that only a GPU is given: large batches, half precision, few boxes.

torchvision has no bfloat16 kernels: its float16 ones, which move as many bytes, stand beside ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from ops_case import Call, Case, boxes_on, features_of, last, scale_of
from torch import Tensor

import perception.ops as ops
from perception.ops import reference

# images, map, boxes of all images, bins per side
SHAPES = [
    (1, (256, 50, 68), 512, 7),
    (1, (256, 50, 68), 1000, 14),
    (8, (256, 48, 156), 2400, 7),
    (1, (256, 50, 68), 10, 7),
]


def align_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    """RoIAlign, float32 and bfloat16, both layouts."""
    for images, shape, count, bins in SHAPES:
        scale = scale_of(shape[1])
        x = features_of(*shape, device, images)
        boxes = boxes_on(*shape[1:], count, scale, device, images)
        for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
            name = f"{images}x{shape[0]} {shape[1]}x{shape[2]}, {count} boxes {bins}x{bins}"
            moved = size * (x.numel() + count * shape[0] * bins * bins)
            theirs = yardstick(vision, x, boxes, bins, scale, dtype)
            for layout, given in (("CL", last(x.to(dtype))), ("NCHW", x.to(dtype))):
                yield Case(
                    f"roi_align {layout} {str(dtype)[6:]} {name}",
                    lambda x=given, b=boxes, n=bins, s=scale: ops.roi_align(x, b, n, s, 2),
                    theirs,
                    bytes=moved,
                    truth=lambda x=given, b=boxes, n=bins, s=scale: ops.roi_align(
                        x.double(), b, n, s, 2
                    ),
                )


def yardstick(
    vision: ModuleType | None, x: Tensor, boxes: Tensor, bins: int, scale: float, dtype: torch.dtype
) -> Call:
    if vision is None:
        return lambda: reference.roi_align(x, boxes, scale, bins, bins, 2, False)
    given = x if dtype is torch.float32 else x.half()
    rows = boxes.to(given.dtype)
    return lambda: vision.ops.roi_align(given, rows, bins, scale, 2)


def pyramid_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    """All levels in one launch, bfloat16; forward and both backwards."""
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    plain = [features_of(256, int(800 * s), int(1088 * s), device) for s in scales]
    boxes = boxes_on(800, 1088, 1000, 1.0, device)
    moved = sum(m.numel() for m in plain) + 1000 * 256 * 49
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        maps = [last(each.to(dtype)).requires_grad_() for each in plain]
        others = [each.to(torch.half if size == 2 else dtype).requires_grad_() for each in plain]
        ours = ops.multi_level_roi_align(maps, boxes, 7, scales, 2)
        upper = torch.ones_like(ours)
        theirs = pyramid_yardstick(vision, others, boxes, scales)
        name = f"{str(dtype)[6:]} C256, 4 levels of 800x1088, 1000 boxes 7x7"
        yield Case(
            f"multi_level_roi_align CL {name}",
            lambda m=maps: ops.multi_level_roi_align(m, boxes, 7, scales, 2),
            lambda m=others: pyramid_yardstick(vision, m, boxes, scales),
            bytes=size * moved,
        )
        for deterministic in (False, True):
            yield Case(
                f"multi_level_roi_align CL {name}, backward"
                + (", deterministic" if deterministic else ""),
                gradient(ours, maps, upper, deterministic=deterministic),
                gradient(theirs, others, torch.ones_like(theirs), deterministic=False),
                bytes=size * moved,
            )


def pyramid_yardstick(
    vision: ModuleType | None, maps: list[Tensor], boxes: Tensor, scales: list[float]
) -> Tensor:
    if vision is None:
        return reference.multi_level_roi_align(maps, boxes, None, scales, 7, 7, 2, False, 224.0, 4)
    pooler = vision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    named = dict(zip("0123", maps, strict=True))
    return pooler(named, [boxes[:, 1:].to(maps[0].dtype)], [(800, 1088)])


def gradient(out: Tensor, leaves: list[Tensor], upper: Tensor, *, deterministic: bool) -> Call:
    """The backward pass alone, under torch's switch."""

    def run() -> Tensor:
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        try:
            return torch.autograd.grad(out, leaves, upper, retain_graph=True)[0]
        finally:
            torch.use_deterministic_algorithms(False)

    return run


def captured_nms_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    """100,000 boxes with a padded result: no synchronisation with the host."""
    from ops_cases_boxes import detections

    boxes, scores = detections(100_000, device)
    theirs = vision.ops.nms if vision is not None else reference.nms
    yield Case(
        "nms 100000 detector-like, 0.5, max_output=2000",
        lambda: ops.nms(boxes, scores, 0.5, max_output=2000)[0],
        lambda: theirs(boxes, scores, 0.5),
    )


def deform_conv_cases(vision: ModuleType | None, device: str) -> Iterator[Case]:
    """Version 2, 256 -> 256 on 64 x 64, 3 x 3, batch 8; the bytes are those of the columns, which
    are written and read once."""
    rng = torch.Generator().manual_seed(4)
    shapes = (8, 256, 64, 64), (8, 18, 64, 64), (256, 256, 3, 3), (256,), (8, 9, 64, 64)
    plain = [torch.randn(s, generator=rng).to(device) for s in shapes]
    plain[2] /= 48
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        others = [each.to(torch.half if size == 2 else dtype) for each in plain]
        for layout in ("CL", "NCHW"):
            given = [each.to(dtype) for each in plain]
            if layout == "CL":
                given[0] = last(given[0])
            name = f"deform_conv2d {layout} {str(dtype)[6:]} v2 8x256->256 64x64 3x3"
            yield Case(
                name,
                lambda g=given: deform(ops.deform_conv2d, g),
                lambda g=others: deform_yardstick(vision, g),
                bytes=2 * size * 8 * 64**2 * 9 * 256,
                truth=lambda: deform(ops.deform_conv2d, [each.double() for each in plain]),
            )
            yield from deform_backward_cases(vision, name, given, others)


def deform_backward_cases(
    vision: ModuleType | None, name: str, given: list[Tensor], others: list[Tensor]
) -> Iterator[Case]:
    """All five gradients."""
    leaves, others = ([x.detach().clone().requires_grad_() for x in xs] for xs in (given, others))
    ours, theirs = deform(ops.deform_conv2d, leaves), deform_yardstick(vision, others)
    for deterministic in (False, True):
        yield Case(
            f"{name}, backward" + (", deterministic" if deterministic else ""),
            gradient(ours, leaves, torch.ones_like(ours), deterministic=deterministic),
            gradient(theirs, others, torch.ones_like(theirs), deterministic=False),
        )


def deform(op: Callable[..., Tensor], tensors: list[Tensor]) -> Tensor:
    x, offset, weight, bias, mask = tensors
    return op(x, offset, weight, bias, padding=(1, 1), mask=mask)


def deform_yardstick(vision: ModuleType | None, tensors: list[Tensor]) -> Tensor:
    if vision is not None:
        return deform(vision.ops.deform_conv2d, tensors)
    x, offset, weight, bias, mask = tensors
    return reference.deform_conv2d(x, offset, weight, bias, mask, *([1, 1],) * 3)


FAMILIES = (align_cases, pyramid_cases, captured_nms_cases, deform_conv_cases)
