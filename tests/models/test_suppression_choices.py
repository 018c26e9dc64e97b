import math
from types import SimpleNamespace

import pytest
import torch

from perception.errors import PerceptionError
from perception.models.heads import AnchorFree, FastBox, MultiNetFastBox

CHANNELS = {"s4": 6, "s8": 8, "s16": 12, "s32": 16, "conv4_3": 8}
STRIDES = {"s4": 4, "s8": 8, "s16": 16, "s32": 32, "conv4_3": 8}
HEADS = [AnchorFree, FastBox, MultiNetFastBox]


def decoded(kind, suppression: str):
    """Two boxes of a class with an IoU of 100 / 120 and scores 0.9 and 0.8, and one of another."""
    head = kind(
        CHANNELS,
        STRIDES,
        classes=["car", "person"],
        min_score=0.1,
        nms_iou=0.5,
        suppression=suppression,
    )
    head.scores = lambda said: said
    xyxy = [[10.0, 10, 20, 20], [10.0, 10, 20, 22], [10.0, 10, 20, 22]]
    output = SimpleNamespace(
        xyxy=torch.tensor([xyxy]),
        logits=torch.tensor([[[0.9, 0.0], [0.8, 0.0], [0.0, 0.7]]]),
        size=torch.tensor([64.0, 96.0]),
    )
    boxes = head.decode(output)
    return list(boxes.names), boxes.score.tolist(), boxes.xyxy.tolist()


@pytest.mark.parametrize("kind", HEADS)
def test_nms_drops_the_weaker_box_of_a_class(kind):
    labels, scores, _ = decoded(kind, "nms")

    assert labels == ["car", "person"]
    assert scores == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("kind", HEADS)
def test_soft_nms_keeps_it_with_a_lower_score(kind):
    """0.8 * exp(-(5 / 6)^2 / 0.5)."""
    labels, scores, _ = decoded(kind, "soft_nms")

    assert labels == ["car", "person", "car"]
    assert scores == pytest.approx([0.9, 0.7, 0.8 * math.exp(-25 / 18)])


@pytest.mark.parametrize("kind", HEADS)
def test_box_voting_takes_the_mean_of_the_boxes_of_the_class_by_score(kind):
    """Bottom: (0.9 * 20 + 0.8 * 22) / 1.7; the person has one voter."""
    labels, scores, xyxy = decoded(kind, "box_voting")

    assert labels == ["car", "person"]
    assert scores == pytest.approx([0.9, 0.7])
    assert xyxy[0] == pytest.approx([10, 10, 20, 35.6 / 1.7])
    assert xyxy[1] == pytest.approx([10, 10, 20, 22])


@pytest.mark.parametrize("kind", HEADS)
def test_an_unknown_suppression_is_named(kind):
    with pytest.raises(PerceptionError, match=r"suppression: found nsm, expected one of nms, soft"):
        decoded(kind, "nsm")
