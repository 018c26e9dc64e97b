"""Every translated op in ONNX Runtime: the numbers of the op, for any number of boxes, none too."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import perception.ops as ops

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from perception.ops.onnx import translations  # noqa: E402

CROWD = torch.tensor([3, -(2**40), 10**9, 0])  # class ids
MAP, FINE = torch.rand(2, 4, 9, 11), torch.rand(2, 4, 18, 22)
FILTERS, SHIFTS = torch.rand(6, 2, 3, 2), torch.randn(2, 24, 5, 12) * 2
FACTORS, BIAS = torch.rand(2, 12, 5, 12), torch.rand(6)
STEPS = {"stride": (2, 1), "padding": (1, 1), "dilation": (1, 1)}
CASES = {
    "roi_align": lambda b, s: ops.roi_align(MAP, rois(b), (2, 3), 0.5, 2),
    "roi_align aligned, adaptive": lambda b, s: ops.roi_align(MAP, rois(b), 2, 0.5, 0, True),
    "multi_level_roi_align": lambda b, s: ops.multi_level_roi_align(
        [FINE, MAP], rois(b), 2, [1.0, 0.5], 2, canonical_size=8, canonical_level=1
    ),
    "roi_pool": lambda b, s: ops.roi_pool(MAP, rois(b), (3, 2), 0.5),
    "rezoom": lambda b, s: ops.rezoom(MAP, rois(b), spatial_scale=0.5),
    "rezoom in one row": lambda b, s: ops.rezoom(MAP, rois(b), (0.0, 0.7), (0.1,), 0.5),
    "nms": lambda b, s: ops.nms(b, s, 0.3),
    "nms padded": lambda b, s: ops.nms(b, s, 0.3, max_output=4),
    "batched_nms": lambda b, s: ops.batched_nms(b, s, classes(s), 0.3),
    "batched_nms padded": lambda b, s: ops.batched_nms(b, s, classes(s), 0.3, max_output=30),
    "box_iou": lambda b, s: ops.box_iou(b, b[:, [1, 0, 3, 2]] + 1),
    "generalized_box_iou": lambda b, s: ops.generalized_box_iou(b, b[:, [1, 0, 3, 2]] + 1),
    "distance_box_iou": lambda b, s: ops.distance_box_iou(b, b[:, [1, 0, 3, 2]] + 1),
    "complete_box_iou": lambda b, s: ops.complete_box_iou(b, b[:, [1, 0, 3, 2]] + 1),
}  # fmt: skip


def rois(boxes: torch.Tensor) -> torch.Tensor:
    image = torch.ones_like(boxes[:, :1]).cumsum(0) % 2
    return torch.cat([image, boxes], 1)


def classes(scores: torch.Tensor) -> torch.Tensor:
    return CROWD[torch.ones_like(scores).cumsum(0).long() % 4]


def table(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes that overlap, with scores of which some are equal."""
    generator = torch.manual_seed(count)
    corner = torch.rand(count, 2, generator=generator) * 12
    boxes = torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 9], 1)
    return boxes, (torch.rand(count, generator=generator) * 20).round() / 20


class Call(nn.Module):
    def __init__(self, call) -> None:
        super().__init__()
        self.call = call

    def forward(self, *inputs):
        return self.call(*inputs)


def session(call, inputs, path, opset: int, dynamic_shapes=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Call(call).eval(), inputs, dynamic_shapes=dynamic_shapes)
        torch.onnx.export(
            program,
            (),
            str(path),
            dynamo=True,
            opset_version=opset,
            verbose=False,
            custom_translation_table=translations(),
        )
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def assert_runs_the_same(model, call, inputs) -> None:
    names = [each.name for each in model.get_inputs()]
    found = model.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    want = call(*inputs)
    for got, expected in zip(found, want if isinstance(want, tuple) else (want,), strict=True):
        assert got.shape == tuple(expected.shape)
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_any_number_of_boxes(name, tmp_path):
    count = torch.export.Dim("count", min=0, max=100000)
    shapes = {"inputs": ({0: count}, {0: count})}
    model = session(CASES[name], table(9), tmp_path / "model.onnx", 18, shapes)

    for boxes in (9, 40, 1, 0):
        assert_runs_the_same(model, CASES[name], table(boxes))


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("opset", [19, 20])
def test_deformable_convolution(modulated, opset, tmp_path):
    more = {"bias": BIAS, "mask": FACTORS} if modulated else {}
    offset = SHIFTS

    def call(x, offset):
        return ops.deform_conv2d(x, offset, FILTERS, **STEPS, **more)

    model = session(call, (MAP, offset), tmp_path / "model.onnx", opset)

    assert_runs_the_same(model, call, (MAP * 2 - 1, offset.flip(0)))


def test_degenerate_boxes_have_the_demanded_overlaps_there_too(tmp_path):
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 10, 0], [10, 10, 0, 0], [0, 0, 1e30, 1e30],
                          [0, 0, 10, 10]])  # fmt: skip

    def family(a, b):
        return (
            ops.box_iou(a, b),
            ops.generalized_box_iou(a, b),
            ops.distance_box_iou(a, b),
            ops.complete_box_iou(a, b),
        )

    model = session(family, (boxes, boxes), tmp_path / "model.onnx", 18)

    assert_runs_the_same(model, family, (boxes, boxes))


def test_what_has_no_translation_is_known():
    """These are named in the documentation as having none."""
    without = {
        "ps_roi_align",
        "ps_roi_pool",
        "deform_roi_pool",
        "deform_ps_roi_pool",
        "soft_nms",
        "box_voting",
        "box_iou_rotated",
        "nms_rotated",
    }
    names = {
        n.split("::")[1]
        for n in torch._C._dispatch_get_all_op_names()
        if n.startswith("perception::") and not n.endswith("_backward")
    }

    assert {op._schema.name.split("::")[1] for op in translations()} == names - without
