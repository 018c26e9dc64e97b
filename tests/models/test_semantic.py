from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from perception.data.batch import Batch
from perception.errors import PerceptionError
from perception.models.encoders import MobileNetV2
from perception.models.heads import DeepLab
from perception.models.multitask import MultiTask
from tests.models.counting import parameters

NAMES = tuple(f"class{i}" for i in range(21))
V3 = {"width": 256, "rates": (), "skips": None}


@pytest.mark.parametrize(
    ("options", "classes", "count"),
    [
        (V3, 21, 2_113_557),
        (V3, 19, 2_113_043),
        (V3, 2, 2_108_674),
        (V3 | {"rates": (6, 12, 18), "separable": False}, 21, 4_523_541),
        (V3 | {"rates": (6, 12, 18)}, 21, 2_568_021),
        (V3 | {"rates": (6, 12, 18), "skips": {"s4": 48}}, 21, 2_719_813),
        (V3 | {"rates": (6, 12, 18), "skips": {"s4": 48}}, 19, 2_719_299),
    ],
)
def test_deeplab_on_mobilenet_v2_has_the_published_number_of_parameters(options, classes, count):
    with torch.device("meta"):
        encoder = MobileNetV2(output_stride=16)
        head = DeepLab(encoder.channels, encoder.strides, classes=NAMES[:classes], **options)

    assert parameters(MultiTask(encoder, [head])) == count


def small(**options) -> DeepLab:
    channels = {"s4": 8, "s8": 12, "s32": 16}
    defaults = {"classes": NAMES[:4], "width": 16, "rates": (2,), "skips": {"s8": 8, "s4": 8}}
    return DeepLab(channels, {"s4": 4, "s8": 8, "s32": 16}, **(defaults | options))


def features(height: int, width: int, images: int = 2) -> dict[str, torch.Tensor]:
    shapes = {"s4": (8, 4), "s8": (12, 8), "s32": (16, 16)}
    return {
        name: torch.randn(images, c, -(-height // s), -(-width // s))
        for name, (c, s) in shapes.items()
    }


@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
def test_logits_have_the_size_of_the_image_whatever_it_is(size):
    output = small()(features(*size), size)

    assert output.logits.shape == (2, 4, *size)


def test_a_single_image_can_be_trained_on():
    head = small().train()

    head(features(32, 32, images=1), (32, 32)).logits.sum().backward()

    assert head.pyramid.branches[-1].conv.weight.grad is not None


def test_decode_gives_the_likeliest_class_and_its_probability():
    head = small()
    logits = torch.zeros(1, 4, 2, 3)
    logits[0, 2, 0, 1] = 20.0

    ids, score = head.decode(SimpleNamespace(logits=logits))

    assert ids.dtype == np.uint8
    assert ids[0, 1] == 2
    np.testing.assert_allclose(score, [[0.25, 1, 0.25], [0.25, 0.25, 0.25]], atol=1e-6)


def test_the_loss_names_its_terms_and_applies_their_factors():
    target = torch.randint(0, 4, (2, 64, 96))
    target[:, :5] = 255
    batch = Batch(("a", "b"), torch.zeros(2), {"semantic": target.to(torch.uint8)})
    one, two = small(), small(losses={"cross_entropy": 2.0, "lovasz": 1.0})
    two.load_state_dict(one.state_dict())
    given = features(64, 96)
    one.eval(), two.eval()

    a, b = (head.loss(head(given, (64, 96)), batch) for head in (one, two))

    assert set(b) == {"cross_entropy", "lovasz"}
    torch.testing.assert_close(b["cross_entropy"], 2 * a["cross_entropy"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": {"lovas": 1}}, "head.semantic.losses: found lovas, expected any of cross"),
        ({"masks": "tanh"}, "head.semantic.masks: found tanh"),
        ({"skips": {"s2": 8}}, "head.semantic.skips: found s2, expected one of s4, s8, s32"),
        ({"class_weights": {"pole": 2.0}}, "class_weights: found pole"),
        ({"class_weights": [1.0]}, "found 1 weights, expected 4"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(PerceptionError, match=message):
        small(**options)
