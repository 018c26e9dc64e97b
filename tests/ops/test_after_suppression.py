"""Every op on the boxes that NMS left, whose number no traced graph knows."""

import pytest
import torch
from torch import Tensor

import perception.ops as ops


def _rois(boxes: Tensor) -> Tensor:
    return torch.cat([boxes.new_zeros(boxes.shape[0], 1), boxes], 1)


def _turned(boxes: Tensor) -> Tensor:
    return torch.cat([boxes, boxes[:, :1]], 1)


def _shift(boxes: Tensor, *shape: int) -> Tensor:
    return boxes[:, 0].view(-1, *(1 for _ in shape)).expand(-1, *shape) * 0.01


CALLS = {
    "roi_align": lambda x, b, s: ops.roi_align(x, _rois(b), 3, 0.25, 2),
    "roi_align of a list": lambda x, b, s: ops.roi_align(x, [b], 3, 0.25, 2),
    "roi_pool": lambda x, b, s: ops.roi_pool(x, _rois(b), 3, 0.25),
    "ps_roi_align": lambda x, b, s: ops.ps_roi_align(x, _rois(b), 2, 0.25, 2),
    "ps_roi_pool": lambda x, b, s: ops.ps_roi_pool(x, _rois(b), 2, 0.25),
    "multi_level_roi_align": lambda x, b, s: ops.multi_level_roi_align(
        [x, x[..., ::2, ::2]], _rois(b), 3, [0.25, 0.125], 2
    ),
    "rezoom": lambda x, b, s: ops.rezoom(x, _rois(b), spatial_scale=0.25),
    "deform_roi_pool": lambda x, b, s: ops.deform_roi_pool(
        x, _rois(b), _shift(b, 2, 3, 3), 3, 0.25, 2
    ),
    "deform_roi_pool without offset": lambda x, b, s: ops.deform_roi_pool(
        x, _rois(b), None, 3, 0.25, 2
    ),
    "deform_ps_roi_pool": lambda x, b, s: ops.deform_ps_roi_pool(
        x, _rois(b), _shift(b, 2, 2, 2), 2, 0.25, output_dim=2
    ),
    "box_iou": lambda x, b, s: ops.box_iou(b, b),
    "generalized_box_iou": lambda x, b, s: ops.generalized_box_iou(b, b),
    "distance_box_iou": lambda x, b, s: ops.distance_box_iou(b, b),
    "complete_box_iou": lambda x, b, s: ops.complete_box_iou(b, b),
    "box_iou_rotated": lambda x, b, s: ops.box_iou_rotated(_turned(b), _turned(b)),
    "nms": lambda x, b, s: ops.nms(b, s, 0.2),
    "nms padded": lambda x, b, s: ops.nms(b, s, 0.2, max_output=3)[0],
    "batched_nms": lambda x, b, s: ops.batched_nms(b, s, (s * 3).long(), 0.2),
    "soft_nms": lambda x, b, s: ops.soft_nms(b, s)[1],
    "nms_rotated": lambda x, b, s: ops.nms_rotated(_turned(b), s, 0.2),
    "box_voting": lambda x, b, s: ops.box_voting(b, s, b, s, 0.2)[0],
}


class After(torch.nn.Module):
    """NMS, then one op on what stays."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.op = CALLS[name]

    def forward(self, features: Tensor, boxes: Tensor, scores: Tensor) -> Tensor:
        kept = ops.nms(boxes, scores, 0.5)
        return self.op(features, boxes[kept], scores[kept])


def _inputs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(count)
    corner = torch.rand(count, 2) * 40
    boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2) * 30], 1)
    return torch.rand(1, 8, 16, 24), boxes, torch.rand(count)


@pytest.mark.parametrize("name", CALLS)
def test_exported_after_nms_an_op_gives_the_same_numbers(name):
    module = After(name)
    many = torch.export.Dim("boxes", max=10_000)
    shapes = (None, {0: many}, {0: many})

    program = torch.export.export(module, _inputs(9), dynamic_shapes=shapes).module()

    for count in (9, 25, 2):
        given = _inputs(count)
        torch.testing.assert_close(program(*given), module(*given), equal_nan=True)


@pytest.mark.parametrize("name", CALLS)
def test_compiled_after_nms_an_op_needs_no_break_in_the_graph(name):
    torch._dynamo.reset()
    module = After(name)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
        for count in (9, 25):
            given = _inputs(count)
            torch.testing.assert_close(compiled(*given), module(*given), equal_nan=True)


def test_every_op_with_boxes_is_called_here():
    from tests.ops.samples import OPS

    assert set(OPS) - {name.split()[0] for name in CALLS} == {"deform_conv2d"}
