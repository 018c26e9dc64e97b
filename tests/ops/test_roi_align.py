"""RoIAlign: worked numbers first, then odd boxes."""

import pytest
import torch

from perception.ops import roi_align

NAN, INF = float("nan"), float("inf")


def squares() -> torch.Tensor:
    """(1, 1, 8, 8) holding 0 to 63."""
    return torch.arange(64.0).reshape(1, 1, 8, 8)


@pytest.mark.parametrize(
    ("aligned", "expected"),
    [(False, [35.75, 39.25, 54.25, 57.75]), (True, [31.25, 34.75, 51.25, 54.75])],
)
def test_the_box_0_3_to_7_8_on_0_to_63_in_two_by_two_bins(aligned, expected):
    box = torch.tensor([[0, 0.0, 3.0, 7.0, 8.0]])

    pooled = roi_align(squares(), box, 2, sampling_ratio=2, aligned=aligned)

    assert pooled.flatten().tolist() == expected


def test_a_box_that_is_not_finite_gives_zeros_and_leaves_the_others_alone():
    boxes = torch.tensor([[0, 0, 3, 7, 8], [0, NAN, 3, 7, 8], [0, 0, 3, INF, 8.0]])

    pooled = roi_align(squares(), boxes, 2, sampling_ratio=2)

    assert pooled[0].flatten().tolist() == [35.75, 39.25, 54.25, 57.75]
    assert (pooled[1:] == 0).all()


def test_pixels_with_weight_zero_do_not_contribute_even_if_infinite():
    features = torch.ones(1, 1, 4, 4)
    features[0, 0, 0, 0] = INF

    outside = roi_align(features, torch.tensor([[0, 50.0, 50, 60, 60]]), 2, sampling_ratio=2)
    inside = roi_align(features, torch.tensor([[0, 2.0, 2, 3, 3]]), 1, sampling_ratio=1)

    assert (outside == 0).all() and inside.item() == 1
