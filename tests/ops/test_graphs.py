"""A small detector of these ops compiled, exported and in ONNX Runtime: the same numbers."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import perception.ops as ops


class Detector(nn.Module):
    """Pools proposals from two levels, scores and moves them, keeps the best of each class."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fine = nn.Conv2d(3, 8, 3, 4, 1)
        self.shift = nn.Conv2d(8, 18, 3, 2, 1)
        self.coarse = ops.DeformConv2d(8, 8, 3, stride=2, padding=1)
        self.score = nn.Linear(8 * 9 * 2, 3)
        self.move = nn.Linear(8 * 9 * 2, 4)

    def forward(self, image: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        fine = self.fine(image)
        coarse = self.coarse(fine, self.shift(fine))
        pooled = ops.multi_level_roi_align([fine, coarse], rois, 3, [0.25, 0.125], 2)
        pooled = pooled + ops.roi_align(fine, rois, 3, 0.25, 2, True)
        pooled = pooled * ops.roi_pool(coarse, rois, 3, 0.125)
        middle = torch.cat(
            [rois[:, :1], (rois[:, 1:3] + rois[:, 3:]) / 2, rois[:, 3:] - rois[:, 1:3]], dim=1
        )
        flat = torch.cat([pooled.flatten(1), ops.rezoom(fine, middle, spatial_scale=0.25)], dim=1)
        boxes = rois[:, 1:] + self.move(flat)
        scores, labels = self.score(flat).sigmoid().max(dim=1)
        kept = ops.batched_nms(boxes, scores, labels, 0.4)
        first, count = ops.nms(boxes, scores, 0.4, max_output=5)
        overlap = ops.generalized_box_iou(boxes[kept], rois[:, 1:])
        return boxes[kept], scores[kept], kept, first, count, overlap


def inputs(count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(count)
    corner = torch.rand(count, 2) * 100
    boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2) * 300], dim=1)
    return torch.rand(1, 3, 64, 96), torch.cat([torch.zeros(count, 1), boxes], dim=1)


@pytest.fixture
def detector() -> Detector:
    torch._dynamo.reset()
    return Detector().eval()


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_without_a_break_in_the_graph(detector, backend):
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(detector, fullgraph=True, dynamic=True, backend=backend)
        for count in (12, 30, 0) if backend == "aot_eager" else (12, 30, 1, 0):
            given = inputs(count)
            for got, want in zip(compiled(*given), detector(*given), strict=True):
                torch.testing.assert_close(got, want)


def loss(x: Tensor, rois: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    pooled = ops.roi_align(x, rois, 3, 0.25, 2)
    levels = ops.multi_level_roi_align([x, x[..., ::2, ::2]], rois, 3, [0.25, 0.125], 2)
    moved = ops.deform_conv2d(x, offset, weight, padding=1)
    shift = offset[0, :18, 0, 0].view(1, 2, 3, 3).expand(len(rois), 2, 3, 3)
    return (
        (pooled * ops.roi_pool(x, rois, 3, 0.25) * levels).sum()
        + ops.rezoom(moved, rois).square().sum()
        + ops.deform_roi_pool(moved, rois, shift, 3, 0.25, 2).square().sum()
        + ops.ps_roi_align(x, rois, 2, 0.25).sum() * ops.ps_roi_pool(x, rois, 2, 0.25).sum()
        + ops.complete_box_iou(rois[:, 1:], rois.flip(0)[:, 1:]).sum()
    )


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_training_step_has_the_same_gradients(backend):
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)
    for count in (9, 4) if backend == "inductor" else (9,):
        leaves = [torch.rand(1, 4, 16, 24), inputs(count)[1], torch.rand(1, 18, 16, 24) - 0.5,
                  torch.rand(4, 4, 3, 3)]  # fmt: skip
        leaves = [leaf.requires_grad_() for leaf in leaves]

        want = torch.autograd.grad(loss(*leaves), leaves)
        got = torch.autograd.grad(compiled(*leaves), leaves)

        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3)


def exported(detector: nn.Module) -> torch.export.ExportedProgram:
    boxes = torch.export.Dim("boxes", min=0, max=100000)
    shapes = {"image": None, "rois": {0: boxes}}
    return torch.export.export(detector, inputs(12), dynamic_shapes=shapes)


def test_exported_it_takes_any_number_of_boxes(detector):
    program = exported(detector).module()
    for count in (12, 30, 1, 0):
        given = inputs(count)
        for got, want in zip(program(*given), detector(*given), strict=True):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("opset", [19, pytest.param(20, marks=pytest.mark.slow)])
def test_onnx_runtime_gives_the_same_boxes(detector, tmp_path, opset):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from perception.ops.onnx import translations

    path = str(tmp_path / "detector.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exported(detector),
            (),
            path,
            dynamo=True,
            opset_version=opset,
            verbose=False,
            custom_translation_table=translations(),
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    for count in (12, 30, 1, 0):
        given = inputs(count)
        found = session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})
        for got, want in zip(found, detector(*given), strict=True):
            np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-4, atol=1e-4)
