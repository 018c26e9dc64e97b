from __future__ import annotations

import pytest
import torch

from perception.errors import PerceptionError
from perception.models.encoders import MobileNetV2
from perception.models.encoders.mobilenet_v2 import BLOCKS, InvertedResidual, make_divisible
from perception.models.weights import read_weights
from tests.models.counting import parameters, rates
from tests.shared import shared


@pytest.mark.parametrize(
    ("width", "total", "without_classifier"),
    [
        (0.35, 1_677_128, 396_128),
        (0.5, 1_968_680, 687_680),
        (0.75, 2_636_424, 1_355_424),
        (1.0, 3_504_872, 2_223_872),
        (1.3, 5_386_792, 3_721_792),
        (1.4, 6_108_776, 4_315_776),
    ],
)
def test_every_width_has_the_published_number_of_parameters(width, total, without_classifier):
    with torch.device("meta"):
        network = MobileNetV2(width=width, imagenet_head=True)

    assert parameters(network) == total
    assert parameters(network.features) == without_classifier


def test_the_encoder_alone_ends_at_320_channels():
    with torch.device("meta"):
        assert parameters(MobileNetV2()) == 1_811_712


def test_width_0_35_rounds_its_channels_to_multiples_of_8():
    channels = [make_divisible(c * 0.35) for c in (32, 16, 24, 32, 64, 96, 160, 320)]

    assert channels == [16, 8, 8, 16, 24, 32, 56, 112]


def test_there_are_17_blocks_and_a_residual_only_where_stride_1_keeps_the_channels():
    network = MobileNetV2()
    blocks = [m for m in network.modules() if isinstance(m, InvertedResidual)]

    expected = [i > 0 for _, _, count, _ in BLOCKS for i in range(count)]

    assert [block.residual for block in blocks] == expected
    assert len(blocks) == 17


def test_nothing_follows_the_projection_but_batch_norm():
    block = MobileNetV2().features[5]

    assert [type(m).__name__ for m in block.conv][-2:] == ["Conv2d", "BatchNorm2d"]


@pytest.mark.parametrize(
    ("output_stride", "strides", "expected_rates"),
    [
        (32, (4, 8, 16, 32), [1] * 17),
        (16, (4, 8, 16, 16), [1] * 14 + [2, 2, 2]),
        (8, (4, 8, 8, 8), [1] * 7 + [2, 2, 2] + [2, 2, 2] + [2, 4, 4] + [4]),
    ],
)
def test_output_stride_turns_strides_into_the_published_dilations(
    output_stride, strides, expected_rates
):
    network = MobileNetV2(output_stride=output_stride).eval()

    features = network(torch.zeros(1, 3, 65, 97))

    assert tuple(network.strides[s] for s in ("s4", "s8", "s16", "s32")) == strides
    assert rates(network) == expected_rates
    for name, feature in features.items():
        stride = network.strides[name]
        size = (network.channels[name], -(-65 // stride), -(-97 // stride))
        assert tuple(feature.shape[1:]) == size


def test_dilation_gives_the_same_features_on_the_coarse_grid():
    """Every second cell of the dilated map is the undilated one, away from the border."""
    torch.manual_seed(0)
    coarse = MobileNetV2(width=0.35).eval()
    fine = MobileNetV2(width=0.35, output_stride=16).eval()
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 353, 353)

    with torch.no_grad():
        a, b = coarse(image)["s32"], fine(image)["s32"][:, :, ::2, ::2]

    assert a.shape == b.shape
    torch.testing.assert_close(a[..., 5:6, 5:6], b[..., 5:6, 5:6], rtol=1e-4, atol=1e-5)


def test_same_padding_equals_torch_padding_for_odd_sizes_only():
    torch.manual_seed(0)
    ours, tf = MobileNetV2(width=0.35).eval(), MobileNetV2(width=0.35, padding="same").eval()
    tf.load_state_dict(ours.state_dict())

    with torch.no_grad():
        odd, even = torch.randn(1, 3, 65, 65), torch.randn(1, 3, 64, 64)

        torch.testing.assert_close(ours(odd)["s32"], tf(odd)["s32"])
        assert not torch.allclose(ours(even)["s4"], tf(even)["s4"], atol=1e-3)


def test_the_pretrained_file_loads_whole():
    path = shared("weights") / "mobilenet_v2_1.0_imagenet.pth"

    network = MobileNetV2(weights=path, imagenet_head=True)

    state = read_weights(path)
    assert set(network.state_dict()) == set(state)
    torch.testing.assert_close(
        network.features[3].conv[2].weight, state["features.3.conv.2.weight"]
    )


def test_a_pretrained_file_of_another_width_is_refused_key_by_key(caplog):
    path = shared("weights") / "mobilenet_v2_1.0_imagenet.pth"

    with pytest.raises(PerceptionError, match=r"features\.0\.0\.weight: file \(32, 3, 3, 3\), mod"):
        MobileNetV2(width=0.5, weights=path)

    assert "other shape: features.17.conv.3.running_var" in caplog.text


def test_a_width_without_a_published_file_says_so():
    with pytest.raises(PerceptionError, match=r"publishes none for MobileNetV2 of width 0\.5; set"):
        MobileNetV2(width=0.5, weights="imagenet")
