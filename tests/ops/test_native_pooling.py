"""The compiled pooling ops equal their definitions, whatever layout, dtype, threads or variant."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import perception.ops as ops
from perception.ops import reference

COORDINATES = st.floats(-30, 60, width=32).map(lambda v: round(v, 3))
needs_native = pytest.mark.skipif(ops.backend() != "native", reason="no native ops here")


@st.composite
def calls(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Features in some dtype and layout, boxes, and settings shared by the ops."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    channels = draw(st.sampled_from([1, 2, 5, 17, 66])) * rows * columns
    images, height, width = (draw(st.integers(1, n)) for n in (3, 9, 11))
    torch.manual_seed(draw(st.integers(0, 999)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    x = torch.randn(images, channels, height, width).to(dtype)
    boxes = [
        [draw(st.integers(0, images - 1)), *(draw(COORDINATES) for _ in range(4))]
        for _ in range(draw(st.integers(0, 5)))
    ]
    rois = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    layout = draw(st.sampled_from(["plain", "last", "sliced", "flipped"]))
    chosen = {
        "size": (rows, columns),
        "scale": draw(st.sampled_from([1.0, 0.5, 0.3, 2.0])),
        "sampling": draw(st.sampled_from([-1, 1, 2, 5])),
        "aligned": draw(st.booleans()),
    }
    return laid_out(x, layout), rois, chosen


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        big = torch.full((*x.shape[:3], 2 * x.shape[3] + 1), float("nan"), dtype=x.dtype)
        big[..., 1::2] = x
        return big[..., 1::2]
    return x.transpose(2, 3).contiguous().transpose(2, 3) if layout == "flipped" else x


def assert_same(got: torch.Tensor, want: torch.Tensor) -> None:
    loose = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 2e-5, torch.float64: 1e-12}
    assert got.dtype == want.dtype
    assert reference.layout_of(got) == reference.layout_of(want)
    torch.testing.assert_close(
        got, want, rtol=loose[got.dtype], atol=loose[got.dtype], equal_nan=True
    )


@needs_native
@settings(deadline=None, max_examples=60)
@given(calls())
def test_roi_align_equals_its_definition_forward_and_backward(call):
    x, rois, s = call
    args = (s["scale"], *s["size"], s["sampling"], s["aligned"])
    out = torch.ops.perception.roi_align(x, rois, *args)
    assert_same(out, reference.roi_align(x, rois, *args))

    upper = torch.randn_like(out)
    args = (s["scale"], list(x.shape), s["sampling"], s["aligned"], True)
    assert_same(
        torch.ops.perception.roi_align_backward(upper, rois, *args),
        reference.roi_align_backward(upper, rois, *args),
    )


@needs_native
@settings(deadline=None, max_examples=40)
@given(calls())
def test_roi_pool_equals_its_definition_exactly(call):
    x, rois, s = call
    out, place = torch.ops.perception.roi_pool(x, rois, s["scale"], *s["size"])
    want, want_place = reference.roi_pool(x, rois, s["scale"], *s["size"])
    assert torch.equal(out, want) and torch.equal(place, want_place)

    upper = torch.randn_like(out)
    assert_same(
        torch.ops.perception.roi_pool_backward(upper, place, rois, s["scale"], list(x.shape), True),
        reference.roi_pool_backward(upper, place, rois, s["scale"], list(x.shape)),
    )


@needs_native
@settings(deadline=None, max_examples=40)
@given(calls())
def test_position_sensitive_ops_equal_their_definitions(call):
    x, rois, s = call
    for name, sampling in (("ps_roi_align", (s["sampling"],)), ("ps_roi_pool", ())):
        args = (s["scale"], *s["size"], *sampling)
        out = getattr(torch.ops.perception, name)(x, rois, *args)
        assert_same(out, getattr(reference, name)(x, rois, *args))

        upper = torch.randn_like(out)
        args = (s["scale"], list(x.shape), *sampling, True)
        assert_same(
            getattr(torch.ops.perception, f"{name}_backward")(upper, rois, *args),
            getattr(reference, f"{name}_backward")(upper, rois, *args),
        )


@needs_native
@settings(deadline=None, max_examples=40)
@given(calls())
def test_rezoom_equals_its_definition(call):
    x, rois, s = call
    args = ([-0.25, 0.0, 0.4], [0.0, 0.5], s["scale"])
    out = torch.ops.perception.rezoom(x, rois, *args)
    assert_same(out, reference.rezoom(x, rois, *args))

    upper = torch.randn_like(out)
    got = torch.ops.perception.rezoom_backward(upper, x, rois, *args, True)
    want = reference.rezoom_backward(upper, x, rois, *args)
    torch.testing.assert_close(got[0].float(), want[0].float(), rtol=2e-2, atol=2e-2)
    if x.dtype in (torch.float32, torch.float64):
        torch.testing.assert_close(got[1], want[1], rtol=1e-3, atol=1e-3)


def gradient(f, x: torch.Tensor) -> torch.Tensor:
    leaf = x.detach().requires_grad_()
    out = f(leaf)
    return torch.autograd.grad(out, leaf, torch.linspace(-1, 1, out.numel()).view_as(out))[0]


@needs_native
@pytest.mark.parametrize("layout", ["plain", "last", "sliced"])
def test_one_thread_and_two_give_the_same_bits(layout):
    torch.manual_seed(0)
    x = laid_out(torch.randn(2, 144, 40, 50), layout)
    corner = torch.rand(60, 2) * 60
    image = torch.arange(60)[:, None] % 2
    rois = torch.cat([image, corner, corner + 1 + torch.rand(60, 2) * 60], dim=1)
    pools = [
        lambda y: ops.roi_align(y, rois, 6, 0.5, 2),
        lambda y: ops.roi_pool(y, rois, 6, 0.5),
        lambda y: ops.ps_roi_align(y, rois, 6, 0.5),
        lambda y: ops.ps_roi_pool(y, rois, 6, 0.5),
        lambda y: ops.rezoom(y, rois),
        lambda y: ops.multi_level_roi_align([y, y], rois, 6, [0.5, 0.25], 2),
    ]
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 64):
            torch.set_num_threads(threads)
            results.append([each for f in pools for each in (f(x), gradient(f, x))])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
