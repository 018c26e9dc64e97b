from __future__ import annotations

import pytest
import torch
from torch import nn

from perception.errors import PerceptionError
from perception.models.encoders import VGG16, MobileNetV1, ResNet
from perception.models.heads.fcn_decoder import CaffeFCNDecoder, FCNDecoder
from perception.models.heads.road import RoadFCN
from perception.models.multitask import MultiTask
from perception.models.upsampling import deconv_size
from tests.models.counting import parameters, rates
from tests.shared import shared


def on_meta(kind, **options):
    with torch.device("meta"):
        return kind(**options)


def shapes(encoder, height: int, width: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        features = encoder.eval()(torch.zeros(1, 3, height, width))
    return {name: tuple(feature.shape[1:]) for name, feature in features.items()}


@pytest.mark.parametrize(
    ("kind", "options", "total", "without_classifier"),
    [
        (MobileNetV1, {}, 4_231_976, 3_206_976),
        (MobileNetV1, {"width": 0.75}, 2_585_560, 1_816_560),
        (MobileNetV1, {"width": 0.5}, 1_331_592, 818_592),
        (MobileNetV1, {"width": 0.25}, 470_072, 213_072),
        (VGG16, {}, 138_357_544, 14_714_688),
        (VGG16, {"batch_norm": True}, 138_365_992, 14_723_136),
        (ResNet, {"depth": 18}, 11_689_512, 11_176_512),
        (ResNet, {"depth": 34}, 21_797_672, 21_284_672),
        (ResNet, {"depth": 50}, 25_557_032, 23_508_032),
        (ResNet, {"depth": 101}, 44_549_160, 42_500_160),
    ],
)
def test_every_encoder_has_the_published_number_of_parameters(
    kind, options, total, without_classifier
):
    assert parameters(on_meta(kind, **options, imagenet_head=True)) == total
    assert parameters(on_meta(kind, **options)) == without_classifier


@pytest.mark.parametrize("kind", [VGG16, ResNet, MobileNetV1])
def test_the_imagenet_head_gives_1000_scores(kind):
    network = on_meta(kind, imagenet_head=True)

    assert network.classify(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("size", [(375, 1242), (384, 1248)])
def test_vgg_ends_at_12_x_39_on_kitti(size):
    features = shapes(on_meta(VGG16), *size)

    assert features["s32"] == (512, 12, 39)
    assert features["s16"] == (512, 24, 78)
    assert features["conv4_3"][0] == 512


def test_vgg_without_ceil_cuts_odd_rows_off():
    assert shapes(on_meta(VGG16, ceil=False), 375, 1242)["s32"] == (512, 11, 38)


@pytest.mark.parametrize(
    ("output_stride", "side", "expected_rates"),
    [(32, 7, [1] * 13), (16, 14, [1] * 13), (8, 28, [1] * 10 + [2] * 3)],
)
def test_vgg_dilates_the_layers_after_a_dropped_pool(output_stride, side, expected_rates):
    encoder = on_meta(VGG16, output_stride=output_stride)

    convs = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]

    assert [m.dilation[0] for m in convs] == expected_rates
    assert shapes(encoder, 224, 224)["s32"] == (512, side, side)


@pytest.mark.parametrize(("output_stride", "side"), [(32, 7), (16, 14), (8, 28)])
@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_keeps_its_last_layers_fine(depth, output_stride, side):
    encoder = on_meta(ResNet, depth=depth, output_stride=output_stride)

    assert shapes(encoder, 224, 224)["s32"] == (512 if depth == 18 else 2048, side, side)
    assert encoder.strides["s32"] == output_stride


def test_resnet_dilates_as_torchvision_does():
    """The first 3x3 of a layer whose stride was dropped keeps the rate of the layer before."""
    encoder = on_meta(ResNet, depth=50, output_stride=8)

    dilations = [
        [block.conv2.dilation[0] for block in layer] for layer in (encoder.layer3, encoder.layer4)
    ]

    assert dilations == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]
    assert encoder.layer3[0].downsample[0].stride == (1, 1)


def test_mobilenet_v1_dilates_what_follows():
    encoder = on_meta(MobileNetV1, output_stride=8)

    assert rates(encoder) == [1] * 6 + [2] * 5 + [2, 4]


@pytest.mark.parametrize("width", [0.5, 0.25])
def test_the_mobilenet_v1_files_load_whole(width):
    path = shared("weights") / f"mobilenet_v1_{width}_imagenet.pth"

    network = MobileNetV1(width=width, weights=path, imagenet_head=True).eval()

    assert network.classify(torch.zeros(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "deep", "classes", "count"),
    [
        ({}, "s32", 2, 14_718_406),
        ({"fc7": True}, "fc7", 2, 134_271_430),
        ({"fc7": True}, "fc7", 21, 134_489_759),
    ],
)
def test_fcn8s_on_vgg_has_the_published_number_of_parameters(options, deep, classes, count):
    encoder = on_meta(VGG16, **options)
    with torch.device("meta"):
        decoder = FCNDecoder(
            encoder.channels,
            encoder.strides,
            (deep, "s16", "s8"),
            classes=classes,
            upsampling="deconv",
        )

    assert parameters(encoder) + parameters(decoder) == count


def test_the_caffe_model_walks_from_500_to_500():
    """698 after the first convolution, pools 349 175 88 44 22, fc6 16, then 34, 70, 568, 500."""
    encoder = on_meta(VGG16, fc7=True, input_padding=100).eval()
    with torch.device("meta"):
        decoder = CaffeFCNDecoder(
            encoder.channels, encoder.strides, ("fc7", "s16", "s8"), classes=21
        )
        features = encoder(torch.zeros(1, 3, 500, 500))
        scores = decoder(features, (500, 500))

    sizes = {name: feature.shape[-1] for name, feature in features.items()}
    assert [sizes[f"s{2**k}"] for k in range(1, 6)] == [349, 175, 88, 44, 22]
    assert sizes["fc7"] == 16
    assert deconv_size(16, 4, 2, 0) == 34
    assert deconv_size(34, 4, 2, 0) == 70
    assert deconv_size(70, 16, 8, 0) == 568
    assert scores.shape == (1, 21, 500, 500)
    assert scores.argmax(1).dtype == torch.int64


def test_the_caffe_road_head_runs_on_vgg():
    encoder = on_meta(VGG16, fc7=True, input_padding=100)
    with torch.device("meta"):
        head = RoadFCN(
            encoder.channels, encoder.strides, deep="fc7", upsampling="deconv", crops=[5, 9, 31]
        )
        network = MultiTask(encoder, [head]).eval()
        logits = network(torch.zeros(1, 3, 375, 500))["road"].logits

    assert logits.shape == (1, 2, 375, 500)


def test_torchvisions_linear_layers_become_convolutions():
    with torch.device("meta"):
        encoder = VGG16(fc7=True)
        state = {
            "classifier.0.weight": torch.zeros(4096, 25088),
            "features.0.bias": torch.zeros(64),
        }

    adapted = encoder.adapt(state)

    assert adapted["classifier.0.weight"].shape == encoder.classifier[0].weight.shape
    assert adapted["features.0.bias"].shape == (64,)


def test_an_unknown_depth_and_output_stride_are_named():
    with pytest.raises(PerceptionError, match=r"encoder\.depth: found 20, expected one of 18, 34"):
        ResNet(20)
    with pytest.raises(PerceptionError, match=r"encoder\.output_stride: found 4, expected 8, 16"):
        ResNet(18, output_stride=4)
