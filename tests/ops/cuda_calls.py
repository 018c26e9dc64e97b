"""One call of every pooling op on the GPU, forward and backward, good and bad boxes."""

from __future__ import annotations

import torch

import perception.ops as ops

NAN = float("nan")


def calls(device: str) -> list[torch.Tensor]:
    """Results and gradients, in one order; rows 2 and 3 are not finite and of no image."""
    torch.manual_seed(0)
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
            ops.roi_pool(x, rois, 3),
            ops.ps_roi_align(x, rois, 2, 0.5, 2),
            ops.ps_roi_pool(x, rois, 4),
            ops.rezoom(x, rois, spatial_scale=0.5),
            ops.multi_level_roi_align(levels, rois, 2, [1.0, 0.5], 2, canonical_size=8),
        ]
        for out in outs:
            upper = torch.linspace(-1, 1, out.numel(), device=device).view_as(out)
            found += [out.detach(), torch.autograd.grad(out, x, upper, retain_graph=True)[0]]
    return found


if __name__ == "__main__":
    for switch in (False, True):
        torch.use_deterministic_algorithms(switch, warn_only=True)
        calls("cuda")
    torch.cuda.synchronize()
