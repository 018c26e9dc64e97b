"""Published numbers of multiply-adds, and what dilation reaches; nothing is computed but sizes."""

import pytest
import torch
from torch import nn

from perception.models.encoders import MobileNetV1, MobileNetV2
from perception.models.heads import DeepLab
from perception.models.multitask import MultiTask
from tests.models.counting import multiply_adds


def test_mobilenets_cost_the_published_multiply_adds_at_224():
    with torch.device("meta"):
        image = torch.zeros(1, 3, 224, 224)
        first = MobileNetV1(imagenet_head=True)
        wide = MobileNetV2(width=1.4, imagenet_head=True)

    assert multiply_adds(first, lambda: first.classify(image)) == 568_740_352
    assert multiply_adds(wide, lambda: wide.classify(image)) == 582_195_824


def test_deeplab_v3_on_mobilenet_v2_costs_the_published_multiply_adds_at_513():
    with torch.device("meta"):
        encoder = MobileNetV2(output_stride=16)
        names = [f"class{i}" for i in range(21)]
        head = DeepLab(
            encoder.channels, encoder.strides, classes=names, width=256, rates=(), skips=None
        )
        image = torch.zeros(1, 3, 513, 513)
    network = MultiTask(encoder, [head]).eval()

    assert multiply_adds(network, lambda: network(image)) == pytest.approx(2.741e9, abs=5e5)


@pytest.mark.parametrize(("dilation", "reach"), [(2, 5), (18, 37)])
def test_a_dilated_kernel_of_three_reaches_as_far_as_its_formula(dilation, reach):
    """The impulse response: dilation * (3 - 1) + 1 pixels wide, three of them hit."""
    convolution = nn.Conv2d(1, 1, 3, dilation=dilation, padding=dilation, bias=False)
    nn.init.ones_(convolution.weight)
    impulse = torch.zeros(1, 1, 41, 41)
    impulse[..., 20, 20] = 1

    rows = convolution(impulse)[0, 0].sum(1).nonzero().flatten()

    assert len(rows) == 3
    assert rows[-1] - rows[0] + 1 == reach
