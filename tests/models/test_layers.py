from __future__ import annotations

import pytest
import torch
from torch import nn

from perception.models.layers import DilatedDepthwiseConv2d, ImagePooling, conv2d


@pytest.mark.parametrize("rate", [2, 3, 6, 12])
@pytest.mark.parametrize("size", [(18, 24), (19, 37)])
def test_the_quick_dilated_depthwise_convolution_equals_the_plain_one(rate, size):
    torch.manual_seed(0)
    conv = conv2d(5, 5, 3, dilation=rate, groups=5)
    image = torch.randn(2, 5, *size, requires_grad=True)
    upstream = torch.randn(2, 5, *size)
    assert isinstance(conv, DilatedDepthwiseConv2d)

    ours = conv(image)
    plain = nn.Conv2d.forward(conv, image)

    torch.testing.assert_close(ours, plain)
    parameters = (image, conv.weight)
    torch.testing.assert_close(
        torch.autograd.grad(ours, parameters, upstream),
        torch.autograd.grad(plain, parameters, upstream),
        rtol=1e-4,
        atol=1e-5,
    )


def test_same_padding_of_even_sizes_stands_at_the_bottom_and_right():
    """Ones through a 2-stride 3x3 of ones: 9 inside, 6 at the padded edges, 4 in their corner."""
    conv = conv2d(1, 1, 3, stride=2, padding="same")
    nn.init.ones_(conv.weight)

    with torch.no_grad():
        sums = conv(torch.ones(1, 1, 4, 6))[0, 0]

    assert sums.tolist() == [[9, 9, 6], [6, 6, 4]]


def test_image_pooling_is_the_mean_of_the_map_at_every_place():
    pooling = ImagePooling(3, 3).eval()
    nn.init.dirac_(pooling.conv.weight)
    features = torch.rand(2, 3, 4, 5)

    with torch.no_grad():
        pooled = pooling(features)

    mean = features.mean((2, 3), keepdim=True).expand(2, 3, 4, 5)
    torch.testing.assert_close(pooled, mean, rtol=1e-4, atol=1e-5)
