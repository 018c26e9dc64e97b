"""Deformable convolution: hand-worked values, equality with convolution, gradients, odd inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from perception.ops import DeformConv2d, deform_conv2d

NAN, INF = float("nan"), float("inf")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.manual_seed(seed))


# --- worked by hand ------------------------------------------------------------------------------


def test_a_1x1_kernel_reads_between_the_pixels():
    """Pixel (r, c) of the 2 x 2 map holds 1, 2, 3, 4; offsets move the taps to (0.5, 0.25), half
    off the lower edge, exactly one off, and a whole pixel to the left."""
    image = torch.tensor([[[[1.0, 2], [3, 4]]]])
    dy = torch.tensor([[0.5, 1.5], [-2.0, 0.0]])
    dx = torch.tensor([[0.25, 0.0], [0.0, -1.0]])

    out = deform_conv2d(image, torch.stack([dy, dx])[None], torch.full((1, 1, 1, 1), 10.0))

    # (0, 0): (1 + 0.25) and (3 + 0.25), mean 2.25; (0, 1): half of 4; (1, 0): y = -1, outside
    assert out.tolist() == [[[[22.5, 20.0], [0.0, 30.0]]]]


def test_the_mask_multiplies_the_samples_and_the_bias_is_added_once():
    image, weight = torch.ones(1, 1, 3, 3), torch.ones(2, 1, 3, 3)
    mask = torch.full((1, 9, 1, 1), 0.5)

    out = deform_conv2d(
        image, torch.zeros(1, 18, 1, 1), weight, torch.tensor([1.0, -1.0]), mask=mask
    )

    assert out.flatten().tolist() == [5.5, 3.5]


# --- laws ----------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**31),
    st.integers(1, 3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.integers(1, 2),
    st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_zero_offsets_make_it_a_convolution(seed, groups, kernel, stride, padding, dilation, last):
    image = draw(seed, 2, 2 * groups, 7, 9)
    weight, bias = draw(seed + 1, 3 * groups, 2, *kernel), draw(seed + 2, 3 * groups)
    if last:
        image = image.contiguous(memory_format=torch.channels_last)
    expected = F.conv2d(image, weight, bias, stride, padding, dilation, groups)
    offset = torch.zeros(2, 2 * groups * kernel[0] * kernel[1], *expected.shape[2:])

    out = deform_conv2d(image, offset, weight, bias, stride, padding, dilation)

    torch.testing.assert_close(out, expected)


def test_whole_offsets_move_the_image():
    image, weight = draw(0, 1, 4, 8, 8), draw(1, 5, 4, 3, 3)
    offset = torch.zeros(1, 18, 6, 6)
    offset[:, 0::2] = 2  # down

    moved = deform_conv2d(image, offset, weight)

    shifted = F.pad(image, (0, 0, 0, 2))[:, :, 2:]
    torch.testing.assert_close(moved, F.conv2d(shifted, weight))


@pytest.mark.parametrize("offset_groups", [1, 2, 4])
@pytest.mark.parametrize("last", [False, True])
def test_gradients_are_exact(offset_groups, last):
    """Odd sizes, unequal strides, two weight groups; samples also leave the map."""
    image, weight = draw(0, 2, 4, 5, 6), draw(1, 6, 2, 3, 2)
    if last:
        image = image.contiguous(memory_format=torch.channels_last)
    offset = draw(2, 2, 2 * offset_groups * 6, 2, 4) * 2
    mask, bias = draw(3, 2, offset_groups * 6, 2, 4), draw(4, 6)
    leaves = [x.requires_grad_() for x in (image, offset, weight, bias, mask)]

    def convolve(image, offset, weight, bias, mask):
        return deform_conv2d(image, offset, weight, bias, (2, 1), (1, 0), (2, 2), mask)

    assert torch.autograd.gradcheck(convolve, leaves, fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda image, offset, weight: convolve(image, offset, weight, None, None),
        leaves[:3],
        fast_mode=True,
    )


def test_offset_groups_move_their_own_channels():
    image, weight = draw(0, 1, 4, 6, 6), draw(1, 3, 4, 3, 3)
    offset = draw(2, 1, 36, 4, 4)

    whole = deform_conv2d(image, offset, weight)

    first = deform_conv2d(image[:, :2], offset[:, :18], weight[:, :2])
    second = deform_conv2d(image[:, 2:], offset[:, 18:], weight[:, 2:])
    torch.testing.assert_close(whole, first + second)


def test_the_module_holds_torchvisions_parameters():
    torch.manual_seed(3)
    module = DeformConv2d(4, 6, 3, padding=1, groups=2)
    torch.manual_seed(3)
    plain = torch.nn.Conv2d(4, 6, 3, padding=1, groups=2)
    image = torch.rand(1, 4, 5, 5)

    assert module.weight.equal(plain.weight) and module.bias.equal(plain.bias)
    torch.testing.assert_close(module(image, torch.zeros(1, 18, 5, 5)), plain(image))
    assert "groups=2" in repr(module)


# --- odd inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1e30, -1e30])
def test_a_tap_nowhere_reads_zero_and_passes_no_gradient(bad):
    image, weight = draw(0, 1, 2, 6, 6), draw(1, 2, 2, 3, 3)
    offset = torch.zeros(1, 18, 4, 4, dtype=torch.double)
    offset[:, 4:6] = bad  # tap (0, 2)
    leaves = [x.clone().requires_grad_() for x in (image, offset, weight)]

    out = deform_conv2d(*leaves)
    out.sum().backward()

    without = weight.clone()
    without[:, :, 0, 2] = 0
    torch.testing.assert_close(out, F.conv2d(image, without))
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
    assert (leaves[1].grad[:, 4:6] == 0).all() and (leaves[2].grad[:, :, 0, 2] == 0).all()


def test_a_pixel_of_weight_zero_does_not_count_even_if_infinite():
    image = torch.ones(1, 1, 4, 4)
    image[..., 3] = INF

    out = deform_conv2d(image, torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 1, 1))

    assert out[..., :3].eq(1).all()


def test_no_images_give_an_empty_result_and_a_zero_weight_gradient():
    weight = torch.rand(2, 2, 3, 3, requires_grad=True)

    out = deform_conv2d(torch.zeros(0, 2, 6, 6), torch.zeros(0, 18, 4, 4), weight)
    out.sum().backward()

    assert out.shape == (0, 2, 4, 4) and (weight.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    image = draw(0, 1, 64, 5, 5).to(dtype)
    offset, weight = draw(1, 1, 18, 3, 3).to(dtype), draw(2, 8, 64, 3, 3).to(dtype)

    out = deform_conv2d(image, offset, weight)

    assert out.dtype == dtype
    expected = deform_conv2d(image.float(), offset.float(), weight.float())
    torch.testing.assert_close(out.float(), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("layout", ["channels_last", "strided", "expanded"])
def test_every_layout_gives_the_same_numbers_and_channels_last_stays(layout):
    image, weight = draw(0, 2, 3, 6, 7), draw(1, 4, 3, 3, 3)
    offset = draw(2, 2, 18, 4, 5)
    if layout == "channels_last":
        other = image.contiguous(memory_format=torch.channels_last)
    elif layout == "strided":
        other = torch.full((2, 3, 6, 15), NAN, dtype=torch.double)[..., 1::2]
        other.copy_(image)
    else:
        image = image[:1, :1].expand(2, 3, 6, 7).contiguous()
        other = image[:1, :1].expand(2, 3, 6, 7)

    out = deform_conv2d(other, offset, weight)

    torch.testing.assert_close(out, deform_conv2d(image, offset, weight))
    last = out.is_contiguous(memory_format=torch.channels_last)
    assert last == (layout == "channels_last")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 0}, "stride"),
        ({"dilation": 0}, "dilation"),
        ({"padding": -1}, "padding"),
        ({"stride": (1, 2, 3)}, "stride"),
        ({"offset": torch.zeros(1, 18, 5, 5)}, "offset must have shape"),
        ({"offset": torch.zeros(1, 17, 4, 4)}, "offset must have 2"),
        ({"offset": torch.zeros(2, 18, 4, 4)}, "offset must have shape"),
        ({"mask": torch.zeros(1, 8, 4, 4)}, "mask must have shape"),
        ({"weight": torch.zeros(2, 3, 3, 3)}, "groups"),
        ({"weight": torch.zeros(2, 2, 7, 3)}, "empty"),
        ({"bias": torch.zeros(3)}, "bias must have shape"),
        ({"input": torch.zeros(2, 6, 6)}, "input must have shape"),
    ],
)
def test_shapes_and_numbers_that_do_not_fit_are_refused(change, message):
    fine = {
        "input": torch.zeros(1, 2, 6, 6), "offset": torch.zeros(1, 18, 4, 4),
        "weight": torch.zeros(2, 2, 3, 3),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        deform_conv2d(**{**fine, **change})


def test_integers_are_refused():
    with pytest.raises(TypeError, match="input must be float"):
        deform_conv2d(
            torch.zeros(1, 2, 6, 6, dtype=torch.uint8), torch.zeros(1, 18, 4, 4),
            torch.zeros(2, 2, 3, 3),
        )  # fmt: skip
