"""Calls of every op that has CUDA kernels, forward and backward: a list of results per device.

    python tests/ops/cuda_calls.py [--device cpu] [--library FILE] [--deterministic] [--out FILE]

The CPU and the GPU must give the same list; so must the CUDA kernels compiled for the CPU
(`--library`, see cuda_on_cpu/build.py) and the definitions. compute-sanitizer runs it, too.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import perception.ops as ops

NAN = float("nan")
DTYPES = (torch.float64, torch.float16, torch.bfloat16)
FAMILY = (ops.box_iou, ops.generalized_box_iou, ops.distance_box_iou, ops.complete_box_iou)


def calls(device: str) -> list[Tensor]:
    """All results, in one order, on the CPU."""
    torch.manual_seed(0)
    found = (
        *poolings(device),
        *other_dtypes(device),
        *overlaps(device),
        *suppressions(device),
        *deformables(device),
    )
    return [each.cpu() for each in found]


def poolings(device: str) -> list[Tensor]:
    """Both layouts; box 2 is not finite, box 3 is empty."""
    plain = torch.rand(2, 16, 13, 15)
    boxes = [[0, 1, 2, 9, 8], [1, -3, -2, 30, 7.5], [0, NAN, 0, 5, 5], [1, 4, 4, 4, 4.0]]
    rois = torch.tensor(boxes, device=device)
    found = []
    for x in (plain, plain.contiguous(memory_format=torch.channels_last)):
        x = x.to(device).requires_grad_()
        levels = [x, torch.nn.functional.avg_pool2d(x, 2)]
        outs = [
            ops.roi_align(x, rois, (2, 4), 0.5, 2),
            ops.roi_align(x, rois, 3, 1.0, 0, True),
            ops.roi_align(x, rois, (2, 20), 1.0, 1, True),
            ops.roi_pool(x, rois, 3),
            ops.ps_roi_align(x, rois, 2, 0.5, 2),
            ops.ps_roi_pool(x, rois, 4),
            ops.rezoom(x, rois, spatial_scale=0.5),
            ops.multi_level_roi_align(levels, rois, 2, [1.0, 0.5], 2, canonical_size=8),
        ]
        for out in outs:
            found += with_gradients(out, x)
    corners = rois.clone().requires_grad_()
    return found + with_gradients(ops.rezoom(plain.to(device), corners, spatial_scale=0.5), corners)


def other_dtypes(device: str) -> list[Tensor]:
    """A wide box on a small map, in every dtype and layout."""
    x = torch.rand(1, 24, 7, 9)
    rois = torch.tensor([[0, 1.5, 2, 8, 6], [0, -4, 3, 5, 30]], device=device)
    found = []
    for dtype in DTYPES:
        for layout in (torch.contiguous_format, torch.channels_last):
            given = x.to(dtype).contiguous(memory_format=layout).to(device).requires_grad_()
            for out in (
                ops.roi_align(given, rois, 7, 0.5, 2),
                ops.roi_pool(given, rois, 3),
                ops.ps_roi_align(given, rois, 2),
                ops.rezoom(given, rois),
            ):
                found += with_gradients(out, given)
    return found


def deformables(device: str) -> list[Tensor]:
    """Every dtype and layout, with and without vectors of channels; some offsets are not finite."""
    found = []
    for dtype in (torch.float32, *DTYPES):
        for layout in (torch.contiguous_format, torch.channels_last):
            for channels, weight_groups, offset_groups in ((16, 1, 1), (16, 2, 1), (12, 2, 4)):
                inputs = convolution_inputs(channels, weight_groups, offset_groups)
                x, offset, weight, bias, mask = (each.to(device, dtype) for each in inputs)
                leaves = [x.contiguous(memory_format=layout), offset, weight, mask]
                leaves = [each.requires_grad_() for each in leaves]
                out = ops.deform_conv2d(*leaves[:3], bias, (2, 1), 1, (1, 2), leaves[3])
                found += with_gradients(out, *leaves)
            found += deformed_poolings(device, dtype, layout)
    return found


def convolution_inputs(channels: int, weight_groups: int, offset_groups: int) -> list[Tensor]:
    """Input, offset, weight, bias, mask for a 3 x 3 kernel with stride (2, 1)."""
    x, weight = torch.rand(2, channels, 9, 8), torch.randn(6, channels // weight_groups, 3, 3) / 4
    offset = torch.randn(2, 18 * offset_groups, 5, 6)
    offset[0, 3, 1], offset[1, 0, :, 2], offset[0, 1, 0, 0] = NAN, -9, float("inf")
    return [x, offset, weight, torch.randn(6), torch.rand(2, 9 * offset_groups, 5, 6)]


def deformed_poolings(device: str, dtype: torch.dtype, layout: torch.memory_format) -> list[Tensor]:
    """Boxes that leave the map, are mirrored, not finite, or wider than a tile of pixels."""
    x = torch.rand(2, 16, 9, 23).to(device, dtype).contiguous(memory_format=layout).requires_grad_()
    boxes = [[0, 1, 2, 8, 7], [1, -5, -2, 40, 9], [0, NAN, 0, 5, 5], [1, 9, 6, 2, 1.5]]
    rois, found = torch.tensor(boxes, device=device), []
    moves, parts = torch.randn(4, 2, 3, 7), torch.randn(4, 4, 2, 2)
    moves[0, 0, 1, 1], parts[1, 2, 0, 1] = NAN, float("inf")
    moves, parts = (each.to(device).requires_grad_() for each in (moves, parts))
    for samples in (0, 2):
        out = ops.deform_roi_pool(x, rois, moves, (3, 7), 0.9, samples)
        found += with_gradients(out, x, moves)
    found += with_gradients(ops.deform_roi_pool(x, rois, None, 2), x)
    kinds = {"output_dim": 4, "group_size": 2, "part_size": 2, "sample_per_part": 3}
    found += with_gradients(ops.deform_ps_roi_pool(x, rois, parts, 3, 0.9, **kinds), x, parts)
    return found + with_gradients(ops.deform_ps_roi_pool(x, rois, None, 2, output_dim=4), x)


def crowd(count: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Boxes in ten clusters and their scores, many of them equal; every 40th is not finite."""
    rng = torch.Generator().manual_seed(seed)
    centre = torch.rand(10, 2, generator=rng)[torch.randint(10, (count,), generator=rng)] * 300
    size = torch.rand(count, 2, generator=rng) * 40 + 20
    corner = centre + torch.rand(count, 2, generator=rng) * 20
    boxes = torch.cat([corner, corner + size], dim=1)
    scores = torch.randint(1, 60, (count,), generator=rng) / 64
    boxes[::40, seed % 4], boxes[20::40, 1], scores[7::40] = NAN, float("inf"), NAN
    return boxes.to(device), scores.to(device)


def turned(boxes: Tensor) -> Tensor:
    """The boxes as (cx, cy, w, h, degrees), each turned by another angle."""
    angle = torch.linspace(-400, 400, len(boxes), device=boxes.device)[:, None]
    corner, other = boxes[:, :2], boxes[:, 2:]
    return torch.cat([(corner + other) / 2, other - corner, angle], dim=1)


def overlaps(device: str) -> list[Tensor]:
    """Boxes that are not finite forward only: they would make every gradient NaN."""
    found = []
    for dtype in (torch.float32, torch.float64):
        a, b = (crowd(count, count, device)[0].to(dtype) for count in (170, 230))
        found += [op(a, b) for op in FAMILY]
        found.append(ops.box_iou_rotated(turned(a), turned(b)))
        leaves = [x[x.isfinite().all(1)].requires_grad_() for x in (a, b)]
        for op in FAMILY:
            found += with_gradients(op(*leaves), *leaves)
    return found


def suppressions(device: str) -> list[Tensor]:
    """Indices in order, padded ones, new scores and boxes."""
    found: list[Tensor] = []
    boxes, scores = crowd(400, 1, device)
    idxs = torch.arange(400, device=device) % 7 - 3
    for given in (boxes, boxes.double(), boxes.repeat(1, 2)[:, 2:6], boxes * 1e18):
        found += [ops.nms(given, scores, 0.5), ops.batched_nms(given, scores, idxs, 0.3)]
    for room in (0, 5, 500):
        found += ops.nms(boxes, scores, 0.5, max_output=room)
        found += ops.batched_nms(boxes, scores, idxs, 0.5, max_output=room)
    found.append(ops.nms_rotated(turned(boxes), scores, 0.3))
    few, few_scores = boxes[:150], scores[:150]
    for method in ("gaussian", "linear", "hard"):
        found += ops.soft_nms(few, few_scores, method)
        found += ops.soft_nms(few.double(), few_scores, method, 0.0, 0.1, -1.0)
    for scoring in ("id", "avg", "max", "iou_avg", "generalized_avg", "quasi_sum"):
        found += ops.box_voting(few[:12], few_scores[:12], boxes, scores, 0.5, scoring, 2.0)
        found += ops.box_voting(few[:12].double(), few_scores[:12], boxes, scores, 0, scoring, 0.5)
    found += ops.box_voting(few, few_scores, boxes[:0], scores[:0])
    empty = boxes[:0], scores[:0]
    found += [ops.nms(*empty, 0.5), *ops.nms(*empty, 0.5, max_output=3)]
    return [*found, *ops.soft_nms(*empty), *ops.box_voting(*empty, boxes, scores)]


def crowds(device: str) -> list[Tensor]:
    """So many boxes that suppression walks them in several parts, and a room that is soon full."""
    boxes, scores = crowd(4200, 2, device)
    boxes[:, ::2] += torch.arange(4200, device=device)[:, None] // 70 * 100  # mostly apart
    idxs = torch.arange(4200, device=device) % 2
    found = [ops.nms(boxes, scores, 0.5), ops.batched_nms(boxes, scores, idxs, 0.5)]
    for room in (100, 2500):
        found += ops.nms(boxes, scores, 0.5, max_output=room)
    return found


def with_gradients(out: Tensor, *inputs: Tensor) -> list[Tensor]:
    """The result and, for an upper gradient from -1 to 1, the gradients to `inputs`."""
    upper = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, inputs, upper, retain_graph=True)]


def strangers(device: str) -> list[Tensor]:
    """Rows of no image: (result, gradient) pairs whose row 1 (gradient: image 1) must be 0."""
    found = []
    for index in (7.0, -1.0, NAN, 0.5, 1e9):
        x = torch.rand(2, 16, 8, 8, device=device).add_(1).requires_grad_()
        rois = torch.tensor([[0, 0, 0, 5, 5], [index, 0, 0, 5, 5]], device=device)
        for out in (
            ops.roi_align(x, rois, 2),
            ops.roi_pool(x, rois, 2),
            ops.ps_roi_align(x, rois, 2),
            ops.ps_roi_pool(x, rois, 2),
            ops.rezoom(x, rois),
            ops.multi_level_roi_align([x, x], rois, 2, [1.0, 0.5]),
            ops.deform_roi_pool(x, rois, torch.zeros(2, 2, 2, 2, device=device), 2),
            ops.deform_ps_roi_pool(x, rois, None, 2, output_dim=4),
        ):
            found += [out.detach(), *torch.autograd.grad(out.sum(), x)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--library", help="kernels that are to serve the CPU")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--strangers", action="store_true", help="rows of no image, too")
    parser.add_argument("--crowds", action="store_true", help="thousands of boxes, too")
    parser.add_argument("--out", help="write the results there")
    args = parser.parse_args()
    if args.library:
        torch.ops.load_library(args.library)
    torch.use_deterministic_algorithms(args.deterministic, warn_only=True)
    found = {"calls": calls(args.device)}
    if args.crowds:
        found["crowds"] = [each.cpu() for each in crowds(args.device)]
    if args.strangers:
        found["strangers"] = [each.cpu() for each in strangers(args.device)]
    if args.out:
        torch.save(found, args.out)


if __name__ == "__main__":
    main()
