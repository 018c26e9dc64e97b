"""Compiled deformable ops equal their definitions, on any number of threads and any layout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perception import ops
from perception.ops import reference

pytestmark = pytest.mark.skipif(ops.backend() != "native", reason="no compiled kernels here")

NATIVE = torch.ops.perception
GRID = settings(deadline=None, max_examples=30)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
ODD = [float("nan"), float("inf"), -1e30, 1e9, -1.0, 0.0]


def close(got, expected, dtype, grade=1.0):
    """Equal up to rounding; to the rounding of the storage for half precision."""
    rtol = {torch.float64: 1e-9, torch.float32: 2e-5}.get(dtype, 0.02) * grade
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        scale = theirs.double().abs().nan_to_num(0, 0, 0).max().item() if theirs.numel() else 1
        torch.testing.assert_close(
            ours.double(), theirs.double(), rtol=rtol, atol=rtol * max(scale, 1e-3)
        )


def same_format(a, b):
    formats = torch.contiguous_format, torch.channels_last
    return all(
        a.is_contiguous(memory_format=f) == b.is_contiguous(memory_format=f) for f in formats
    )


def layout(tensor, which):
    if which == "last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if which == "sliced":
        wide = torch.full((*tensor.shape[:3], 2 * tensor.shape[3]), float("nan"))
        wide = wide.to(tensor.dtype)[..., ::2]
        return wide.copy_(tensor)
    if which == "sliced last":  # channels together, but with other channels between the pixels
        wide = torch.full((tensor.shape[0], *tensor.shape[2:], 2 * tensor.shape[1]), float("nan"))
        return wide.to(tensor.dtype).permute(0, 3, 1, 2)[:, : tensor.shape[1]].copy_(tensor)
    return tensor


LAYOUTS = st.sampled_from(["plain", "last", "sliced", "sliced last"])


GROUPS = st.sampled_from([(1, 1), (2, 1), (1, 2), (4, 2), (2, 4)])  # of weights, of offsets


@given(
    st.integers(0, 2**31),
    DTYPES,
    LAYOUTS,
    GROUPS,
    st.sampled_from([1, 3, 17, 40]),
    st.sampled_from([1, 2, 33]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@GRID
def test_deformable_convolution_equals_its_definition(
    seed, dtype, which, groups, channels, filters, masked, odd, deterministic
):
    generator = torch.manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    weight_groups, offset_groups = groups
    channels, filters = channels * 4, filters * weight_groups
    image = layout(draw(2, channels, 6, 7), which)
    weight = draw(filters, channels // weight_groups, 2, 3)
    steps = [2, 1], [1, 2], [1, 2]
    rows, columns = (6 + 2 - 2) // 2 + 1, 7 + 4 - 5 + 1
    offset = draw(2, 12 * offset_groups, rows, columns) * 2
    if odd:
        offset.flatten()[:: offset.numel() // 6 + 1] = torch.tensor(ODD).to(dtype)[
            : len(offset.flatten()[:: offset.numel() // 6 + 1])
        ]
    mask = draw(2, 6 * offset_groups, rows, columns) if masked else None
    bias = draw(filters)
    grad = draw(2, filters, rows, columns)

    got = NATIVE.deform_conv2d(image, offset, weight, bias, mask, *steps)
    expected = reference.deform_conv2d(image, offset, weight, bias, mask, *steps)
    close([got], [expected], dtype, 5)
    assert same_format(got, expected)
    got = NATIVE.deform_conv2d_backward(grad, image, offset, weight, mask, *steps, deterministic)
    wide = [x if x is None else x.double() for x in (grad, image, offset, weight, mask)]
    expected = reference.deform_conv2d_backward(*wide, *steps)
    close(got, [x.to(dtype) for x in expected], dtype, 20)


def draw_rois(generator, count, odd):
    corner = torch.rand(count, 4, dtype=torch.double, generator=generator) * 24 - 4
    rois = torch.cat([torch.randint(2, (count, 1), generator=generator).double(), corner], 1)
    if odd and count:
        rois[0, 1 + int(torch.randint(4, (1,), generator=generator))] = float("nan")
        rois[-1, 3:] = 1e6
    return rois


@given(
    st.integers(0, 2**31),
    DTYPES,
    LAYOUTS,
    st.sampled_from([0, 1, 2, 5]),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@GRID
def test_deformable_pooling_equals_its_definition(
    seed, dtype, which, sampling, count, shifted, odd, deterministic
):
    generator = torch.manual_seed(seed)
    image = layout(torch.randn(2, 19, 9, 7, generator=generator).to(dtype), which)
    rois = draw_rois(generator, count, odd)
    offset = torch.randn(count, 2, 2, 3, generator=generator) if shifted else None
    grad = torch.randn(count, 19, 2, 3, generator=generator).to(dtype)
    settings_ = 2, 3, 0.5, sampling, 0.2

    got = NATIVE.deform_roi_pool(image, rois, offset, *settings_)
    expected = reference.deform_roi_pool(image, rois, offset, *settings_)
    close([got], [expected], dtype, 5)
    if count:
        assert same_format(got, expected)
    got = NATIVE.deform_roi_pool_backward(grad, image, rois, offset, *settings_, deterministic)
    expected = reference.deform_roi_pool_backward(
        grad.double(), image.double(), rois, offset, *settings_, True
    )
    close(got[:1], [expected[0].to(dtype)], dtype, 20)
    close(got[1:], expected[1:] if shifted else [image.new_empty(0)], dtype, 50)


@given(
    st.integers(0, 2**31),
    DTYPES,
    LAYOUTS,
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@GRID
def test_position_sensitive_deformable_pooling_equals_its_definition(
    seed, dtype, which, size, part, classes, shifted, odd, deterministic
):
    generator = torch.manual_seed(seed)
    group, dims, count = 2, 4, 4
    image = layout(torch.randn(2, dims * 4, 9, 7, generator=generator).to(dtype), which)
    rois = draw_rois(generator, count, odd)
    offset = None
    if shifted:
        offset = torch.randn(count, 2 * classes, part, part, generator=generator)
    grad = torch.randn(count, dims, size, size, generator=generator).to(dtype)
    settings_ = size, 0.5, dims, group, part, 3, 0.2

    got = NATIVE.deform_ps_roi_pool(image, rois, offset, *settings_)
    expected = reference.deform_ps_roi_pool(image, rois, offset, *settings_)
    close([got], [expected], dtype, 5)
    got = NATIVE.deform_ps_roi_pool_backward(grad, image, rois, offset, *settings_, deterministic)
    expected = reference.deform_ps_roi_pool_backward(
        grad.double(), image.double(), rois, offset, *settings_, True
    )
    close(got[:1], [expected[0].to(dtype)], dtype, 20)
    close(got[1:], expected[1:] if shifted else [image.new_empty(0)], dtype, 50)


def test_one_and_two_threads_give_the_same_bits():
    generator = torch.manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    image, weight, offset = draw(2, 80, 20, 21), draw(40, 80, 3, 3), draw(2, 36, 20, 21)
    mask, grad, steps = draw(2, 18, 20, 21), draw(2, 40, 20, 21), ([1, 1], [1, 1], [1, 1])
    rois, shift = draw_rois(generator, 30, odd=False), draw(30, 2, 3, 3)
    parts, plain, upper = draw(30, 2, 3, 3), (3, 3, 0.9, 0, 0.1), draw(30, 80, 3, 3)
    sensitive, above = (3, 0.9, 20, 2, 3, 4, 0.1), draw(30, 20, 3, 3)

    def everything():
        return [
            NATIVE.deform_conv2d(image, offset, weight, None, mask, *steps),
            *NATIVE.deform_conv2d_backward(grad, image, offset, weight, mask, *steps, True),
            NATIVE.deform_roi_pool(image, rois, shift, *plain),
            *NATIVE.deform_roi_pool_backward(upper, image, rois, shift, *plain, True),
            NATIVE.deform_ps_roi_pool(image, rois, parts, *sensitive),
            *NATIVE.deform_ps_roi_pool_backward(above, image, rois, parts, *sensitive, True),
        ]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = everything()
        torch.set_num_threads(2)
        two = everything()
    finally:
        torch.set_num_threads(before)
    assert all(x.equal(y) for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_slopes_of_half_precision_maps_are_not_rounded_before_they_are_summed(dtype):
    torch.manual_seed(0)
    image = torch.randn(1, 64, 12, 12).to(dtype)
    rois = torch.tensor([[0, 1.0, 1, 9, 10], [0, 3, 2, 8, 5]])
    offset, upper = torch.rand(2, 2, 3, 3), torch.randn(2, 64, 3, 3).to(dtype)

    got = NATIVE.deform_roi_pool_backward(upper, image, rois, offset, 3, 3, 1.0, 2, 0.1, True)[1]
    want = reference.deform_roi_pool_backward(
        upper.double(), image.double(), rois, offset, 3, 3, 1.0, 2, 0.1, True
    )[1]

    torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-5)
