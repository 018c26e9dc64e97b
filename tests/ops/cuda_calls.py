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


def calls(device: str) -> list[Tensor]:
    """All results, in one order, on the CPU."""
    torch.manual_seed(0)
    return [each.cpu() for each in (*poolings(device), *other_dtypes(device))]


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
        ):
            found += [out.detach(), *torch.autograd.grad(out.sum(), x)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--library", help="kernels that are to serve the CPU")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--strangers", action="store_true", help="rows of no image, too")
    parser.add_argument("--out", help="write the results there")
    args = parser.parse_args()
    if args.library:
        torch.ops.load_library(args.library)
    torch.use_deterministic_algorithms(args.deterministic, warn_only=True)
    found = {"calls": calls(args.device)}
    if args.strangers:
        found["strangers"] = [each.cpu() for each in strangers(args.device)]
    if args.out:
        torch.save(found, args.out)


if __name__ == "__main__":
    main()
