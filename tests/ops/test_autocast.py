"""Under autocast: features keep their dtype, boxes stay exact, convolutions follow autocast."""

import os
import subprocess
import sys

import pytest
import torch

import perception.ops as ops
from tests.ops.samples import OPS, samples

LOW = torch.bfloat16
SAMPLES = samples()
CONVOLUTION = [name for name in SAMPLES if name.startswith("deform_conv2d")]
AS_THEY_ARE = [name for name in SAMPLES if name not in CONVOLUTION]


def leaves(name: str, *dtypes: torch.dtype) -> list[torch.Tensor]:
    """Fresh inputs of a sample, in these dtypes; the last one serves for the rest."""
    inputs = SAMPLES[name].inputs
    kinds = [*dtypes, *[dtypes[-1]] * len(inputs)]
    differentiable = SAMPLES[name].differentiable
    return [
        x.to(kind).requires_grad_(differentiable) for x, kind in zip(inputs, kinds, strict=False)
    ]


def results(name: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Outputs and gradients of a sample."""
    out = SAMPLES[name].run(*inputs)
    if not SAMPLES[name].differentiable:
        return list(out)
    return [out[0], *torch.autograd.grad(out[0].double().square().sum(), inputs)]


def test_every_op_is_among_the_calls():
    assert sorted({name.split()[0] for name in SAMPLES}) == OPS


@pytest.mark.parametrize("features", [torch.float32, LOW])
@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_nothing_changes_for_ops_that_one_tensor_decides(name, features):
    kinds = [features] * SAMPLES[name].maps + [torch.float32]
    outside = results(name, leaves(name, *kinds))

    with torch.autocast("cpu", LOW):
        inside = results(name, leaves(name, *kinds))

    for got, want in zip(inside, outside, strict=True):
        assert got.dtype == want.dtype and torch.equal(got, want)


@pytest.mark.parametrize("features", [torch.float32, LOW])
@pytest.mark.parametrize("name", CONVOLUTION)
def test_a_deformable_convolution_takes_input_weight_and_bias_as_a_convolution_does(name, features):
    with torch.autocast("cpu", LOW):
        inputs = leaves(name, features, torch.float32)
        got = results(name, inputs)

    x, offset, *weights, mask = inputs if len(inputs) == 5 else [*inputs, None]
    lowered = [x.to(LOW), offset, *(each.to(LOW) for each in weights)]
    lowered = [*lowered, mask] if mask is not None else lowered
    out = SAMPLES[name].run(*lowered)[0]
    want = torch.autograd.grad(out.double().square().sum(), inputs)
    assert got[0].dtype == LOW and torch.equal(got[0], out)
    for ours, theirs, leaf in zip(got[1:], want, inputs, strict=True):
        assert ours.dtype == leaf.dtype and torch.equal(ours, theirs)


def test_the_module_works_where_a_convolution_does_and_in_the_same_dtype():
    module, plain = ops.DeformConv2d(4, 6, 3), torch.nn.Conv2d(4, 6, 3)
    plain.load_state_dict(module.state_dict())
    x, offset = torch.rand(1, 4, 7, 8), torch.zeros(1, 18, 5, 6)

    with torch.autocast("cpu", LOW):
        out, expected = module(x, offset), plain(x)
        again = module(x.to(LOW), offset.to(LOW))

    assert out.dtype == expected.dtype == LOW and torch.equal(out, again)
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)
    out.sum().backward()
    assert module.weight.grad.dtype == torch.float32


def test_float64_stays_what_it_is():
    name = CONVOLUTION[0]
    outside = results(name, leaves(name, torch.float64))

    with torch.autocast("cpu", LOW):
        inside = results(name, leaves(name, torch.float64))

    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


@pytest.mark.parametrize("inside", [False, True])
def test_levels_of_different_dtypes_are_read_in_the_widest(inside):
    """A normalisation layer gives float32 under autocast, a convolution the low one."""
    name = "multi_level_roi_align"
    low = leaves(name, LOW, torch.float32)
    wide = [x.detach().float().requires_grad_() for x in low]

    with torch.autocast("cpu", LOW, enabled=inside):
        got, expected = results(name, low), results(name, wide)

    assert got[0].dtype == torch.float32 and torch.equal(got[0], expected[0])
    assert [x.dtype for x in got[1:]] == [LOW, torch.float32]
    torch.testing.assert_close(got[1].float(), expected[1], rtol=0.01, atol=0.01)
    assert torch.equal(got[2], expected[2])


def test_low_precision_boxes_are_compared_in_float32():
    boxes = torch.tensor([[0.0, 0, 300, 300], [0, 0, 300, 200]], dtype=LOW)

    with torch.autocast("cpu", LOW):
        overlap = ops.box_iou(boxes, boxes)

    assert overlap.dtype == torch.float32
    torch.testing.assert_close(overlap[0, 1].item(), 2 / 3)


def test_compiled_and_exported_regions_follow_the_same_rule():
    x, offset, weight = (t.detach().float() for t in leaves("deform_conv2d", torch.float64))
    region = Region()
    expected = region(x, offset, weight)

    torch._dynamo.reset()
    compiled = torch.compile(region, fullgraph=True, backend="aot_eager")(x, offset, weight)
    exported = torch.export.export(region, (x, offset, weight)).module()(x, offset, weight)

    for got in (compiled, exported):
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other)


class Region(torch.nn.Module):
    """A convolution in the low precision and a pooling in that of its input."""

    def forward(self, x, offset, weight):
        rois = torch.tensor([[0, 1.0, 1, 5, 5]])
        with torch.autocast("cpu", LOW):
            return ops.deform_conv2d(x, offset, weight, padding=1), ops.roi_align(x, rois, 2)


def test_the_definitions_follow_it_where_nothing_is_compiled():
    """They multiply matrices, which autocast would round."""
    if ops.backend() != "native":
        pytest.skip("they are what this run tests")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "PERCEPTION_NATIVE": "off"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
