from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.initialisation import (
    bilinear_profile,
    he_,
    truncated_he_,
    truncated_normal_,
    xavier_,
)
from perception.models.upsampling import (
    KINDS,
    Deconv,
    PixelShuffle,
    conv_size,
    deconv_size,
    overlap,
    upsample,
)


def test_overlap_shows_the_checkerboard():
    """Ones through a kernel of ones: what each output is made of, away from the border."""
    assert overlap(3, 2)[4:8].tolist() == [2, 1, 2, 1]
    assert set(overlap(4, 2)[4:-4].tolist()) == {2}
    assert set(overlap(16, 8)[16:-16].tolist()) == {2}
    assert set(overlap(5, 2)[5:-5].tolist()) == {2, 3}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_no_kind_starts_with_a_checkerboard(kind, factor):
    """A constant map stays constant, away from the border."""
    layer = upsample(kind, 3, factor, "head")

    with torch.no_grad():
        larger = layer(torch.ones(1, 3, 8, 8), (8 * factor, 8 * factor))

    inner = larger[:, :, factor:-factor, factor:-factor]
    torch.testing.assert_close(inner, torch.ones_like(inner))


@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes_are_reached(kind):
    layer = upsample(kind, 2, 2, "head")

    assert layer(torch.zeros(1, 2, 6, 20), (11, 39)).shape == (1, 2, 11, 39)


def test_an_unknown_kind_is_named():
    with pytest.raises(PerceptionError, match=r"head\.road\.upsampling: found nearest, expected"):
        upsample("nearest", 2, 2, "head.road")


@pytest.mark.parametrize("factor", [2, 8])
def test_a_fresh_deconvolution_is_the_bilinear_resize_away_from_the_border(factor):
    features = torch.randn(1, 3, 9, 12)
    size = (9 * factor, 12 * factor)

    with torch.no_grad():
        larger = Deconv(3, factor)(features, size)

    expected = F.interpolate(features, size, mode="bilinear", align_corners=False)
    inner = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(larger[inner], expected[inner])


def test_bilinear_profiles_by_hand():
    assert bilinear_profile(4).tolist() == [0.25, 0.75, 0.75, 0.25]
    assert bilinear_profile(16)[:3].tolist() == [0.0625, 0.1875, 0.3125]
    assert bilinear_profile(16)[7:9].tolist() == [0.9375, 0.9375]


def test_a_fresh_pixelshuffle_is_the_nearest_neighbour_resize():
    features = torch.randn(1, 3, 4, 5)

    with torch.no_grad():
        larger = PixelShuffle(3, 2)(features, (8, 10))

    torch.testing.assert_close(larger, F.interpolate(features, scale_factor=2.0, mode="nearest"))


def test_sizes_of_convolutions_by_hand():
    assert deconv_size(16, 4, 2, 0) == 34
    assert conv_size(700, 3, 1, 0) == 698
    assert conv_size(5, 2, 2, 0) == 2  # floored


@pytest.mark.parametrize("size", [1, 7, 16])
def test_kernel_4_stride_2_padding_1_goes_there_and_back(size):
    larger = deconv_size(size, 4, 2, 1)

    assert larger == 2 * size
    assert conv_size(larger, 4, 2, 1) == size


def test_the_gradient_of_a_convolution_is_a_transposed_convolution():
    image = torch.randn(1, 2, 9, 9, requires_grad=True)
    kernel, upstream = torch.randn(3, 2, 3, 3), torch.randn(1, 3, 5, 5)

    F.conv2d(image, kernel, stride=2, padding=1).backward(upstream)

    expected = F.conv_transpose2d(upstream, kernel, stride=2, padding=1)
    torch.testing.assert_close(image.grad, expected)


@pytest.mark.parametrize(
    ("initialise", "std"),
    [
        (he_, (2 / 900) ** 0.5),
        (truncated_he_, (2 / 900) ** 0.5),
        (xavier_, (2 / (900 + 10_800)) ** 0.5),
        (lambda weight: truncated_normal_(weight, 0.01), 0.01),
    ],
)
def test_initial_weights_have_the_intended_deviation(initialise, std):
    torch.manual_seed(0)

    weight = initialise(torch.empty(1200, 100, 3, 3))

    assert weight.numel() > 1_000_000
    assert weight.std().item() == pytest.approx(std, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.01 * std)
