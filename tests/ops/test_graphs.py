"""A small detector of these ops compiled, exported and in ONNX Runtime: the same numbers."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import perception.ops as ops


class Detector(nn.Module):
    """Pools proposals from two levels, scores and moves them, keeps the best of each place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fine = nn.Conv2d(3, 8, 3, 4, 1)
        self.coarse = nn.Conv2d(8, 8, 3, 2, 1)
        self.score = nn.Linear(8 * 9, 1)
        self.move = nn.Linear(8 * 9, 4)

    def forward(self, image: Tensor, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(image)
        coarse = self.coarse(fine)
        pooled = ops.multi_level_roi_align([fine, coarse], rois, 3, [0.25, 0.125], 2)
        pooled = pooled + ops.roi_align(fine, rois, 3, 0.25, 2, True)
        flat = pooled.flatten(1)
        boxes, scores = rois[:, 1:] + self.move(flat), self.score(flat)[:, 0].sigmoid()
        kept = ops.nms(boxes, scores, 0.4)
        return boxes[kept], scores[kept], kept


def inputs(count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(count)
    corner = torch.rand(count, 2) * 100
    boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2) * 300], dim=1)
    return torch.rand(1, 3, 64, 96), torch.cat([torch.zeros(count, 1), boxes], dim=1)


@pytest.mark.parametrize("count", [12])
def test_compiled_without_a_break_in_the_graph(count):
    detector = Detector().eval()
    torch._dynamo.reset()
    torch._dynamo.config.capture_dynamic_output_shape_ops = True
    compiled = torch.compile(detector, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (count, 30, 0):
        image, rois = inputs(n)
        for got, want in zip(compiled(image, rois), detector(image, rois), strict=True):
            torch.testing.assert_close(got, want)


def test_a_compiled_training_step_has_the_same_gradient():
    torch._dynamo.reset()
    image, rois = inputs(9)
    x = torch.rand(1, 4, 16, 24, requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        pooled = ops.roi_align(x, rois, 3, 0.25, 2)
        return (pooled * ops.roi_pool(x, rois, 3, 0.25)).sum() + ops.rezoom(x, rois).square().sum()

    want = torch.autograd.grad(loss(x), x)[0]
    got = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(x), x)[0]

    torch.testing.assert_close(got, want)


def exported(detector: nn.Module) -> torch.export.ExportedProgram:
    boxes = torch.export.Dim("boxes", min=0, max=100000)
    shapes = {"image": None, "rois": {0: boxes}}
    return torch.export.export(detector, inputs(12), dynamic_shapes=shapes)


def test_exported_with_any_number_of_boxes():
    detector = Detector().eval()
    program = exported(detector).module()
    for n in (12, 30, 0):
        image, rois = inputs(n)
        for got, want in zip(program(image, rois), detector(image, rois), strict=True):
            torch.testing.assert_close(got, want)


def test_onnx_runtime_gives_the_same_boxes(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from perception.ops.onnx import translations

    detector = Detector().eval()
    path = str(tmp_path / "detector.onnx")
    torch.onnx.export(
        exported(detector), (), path, dynamo=True, opset_version=18, verbose=False,
        custom_translation_table=translations(),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (12, 30, 0):
        image, rois = inputs(n)
        names = [each.name for each in session.get_inputs()]
        found = session.run(None, dict(zip(names, (image.numpy(), rois.numpy()), strict=True)))
        for got, want in zip(found, detector(image, rois), strict=True):
            np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_onnx_runtime_pools_the_same_maxima(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from perception.ops.onnx import translations

    class Pool(nn.Module):
        def forward(self, x: Tensor, rois: Tensor) -> Tensor:
            return ops.roi_pool(x, rois, (3, 2), 0.25)

    x, rois = torch.rand(1, 4, 16, 24), inputs(9)[1]
    path = str(tmp_path / "pool.onnx")
    torch.onnx.export(
        Pool(), (x, rois), path, dynamo=True, opset_version=18, verbose=False,
        custom_translation_table=translations(),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    found = session.run(None, dict(zip(names, (x.numpy(), rois.numpy()), strict=True)))[0]

    np.testing.assert_array_equal(found, ops.roi_pool(x, rois, (3, 2), 0.25).numpy())
