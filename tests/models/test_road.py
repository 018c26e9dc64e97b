from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from perception.data.batch import Batch
from perception.errors import PerceptionError
from perception.models.heads import RoadFCN
from perception.models.upsampling import KINDS

CHANNELS, STRIDES = {"s8": 8, "s16": 12, "s32": 16}, {"s8": 8, "s16": 16, "s32": 32}


def features(height: int, width: int, images: int = 2) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(images, CHANNELS[name], -(-height // s), -(-width // s))
        for name, s in STRIDES.items()
    }


@pytest.mark.parametrize("upsampling", KINDS)
@pytest.mark.parametrize("width", [0, 16])
@pytest.mark.parametrize("size", [(64, 96), (75, 130)])
def test_logits_have_the_size_of_the_image_whatever_it_is(upsampling, width, size):
    head = RoadFCN(CHANNELS, STRIDES, upsampling=upsampling, width=width)

    output = head(features(*size), size)

    assert output.logits.shape == (2, 2, *size)


def test_equal_strides_are_added_without_upsampling():
    head = RoadFCN(CHANNELS, STRIDES | {"s32": 16}, upsampling="deconv")
    given = features(64, 96) | {"s32": torch.randn(2, 16, 4, 6)}

    assert head(given, (64, 96)).logits.shape == (2, 2, 64, 96)


def test_fcn8s_adds_the_resized_scores_of_three_maps():
    head = RoadFCN(CHANNELS, STRIDES, upsampling="resize_conv")
    given = features(64, 96)
    deep, s16, s8 = head.decoder.laterals

    def twice(x):
        return torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")

    with torch.no_grad():
        scores = twice(twice(deep(given["s32"])) + s16(given["s16"])) + s8(given["s8"])
        expected = torch.nn.functional.interpolate(scores, (64, 96), mode="bilinear")
        torch.testing.assert_close(head(given, (64, 96)).logits, expected)


@pytest.mark.parametrize("masks", ["softmax", "sigmoid"])
def test_decode_gives_the_probability_of_road(masks):
    head = RoadFCN(CHANNELS, STRIDES, masks=masks)
    logits = torch.zeros(1, 2 if masks == "softmax" else 1, 2, 3)
    logits[0, -1, 0, 1] = np.log(3)

    road = head.decode(SimpleNamespace(logits=logits))

    assert road.dtype == np.float32
    np.testing.assert_allclose(road, [[0.5, 0.75, 0.5], [0.5, 0.5, 0.5]], rtol=1e-6)


def test_unsure_pixels_do_not_count():
    head = RoadFCN(CHANNELS, STRIDES, class_weights=[1.0, 2.0]).eval()
    output = head(features(64, 96), (64, 96))
    road = torch.randint(0, 2, (2, 64, 96), dtype=torch.uint8)
    road[:, :10] = 255
    changed = output.logits.clone()
    changed[:, :, :10] = 5

    losses = [
        head.loss(SimpleNamespace(logits=logits), Batch(("a",), torch.zeros(1), {"road": road}))[
            "cross_entropy"
        ]
        for logits in (output.logits, changed)
    ]

    torch.testing.assert_close(*losses)


def test_class_weights_need_softmax_masks():
    with pytest.raises(PerceptionError, match=r"head\.road\.class_weights: found weights with sig"):
        RoadFCN(CHANNELS, STRIDES, masks="sigmoid", class_weights=[1, 2])


def test_each_skip_starts_smaller_by_its_scale():
    channels = {"s8": 4000, "s16": 4000, "s32": 4000}
    head = RoadFCN(channels, STRIDES, skip_scale=0.01)

    deviations = [lateral.weight.std().item() for lateral in head.decoder.laterals]

    expected = [(2 / 4000 * scale) ** 0.5 for scale in (1, 0.01, 0.0001)]
    assert deviations == pytest.approx(expected, rel=0.05)


def test_an_unknown_initialisation_is_named():
    with pytest.raises(
        PerceptionError, match=r"head\.road\.initialisation: found zeros, expected he"
    ):
        RoadFCN(CHANNELS, STRIDES, initialisation="zeros")
