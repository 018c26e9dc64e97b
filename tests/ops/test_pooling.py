"""RoIPool and position-sensitive pooling: worked numbers first, each under its named convention."""

import pytest
import torch

from perception.ops import ps_roi_align, ps_roi_pool, roi_align, roi_pool

INF, NAN = float("inf"), float("nan")

# The map of a widely copied worked example of RoI pooling.
EXAMPLE = torch.tensor(
    [
        [0.88, 0.44, 0.14, 0.16, 0.37, 0.77, 0.96, 0.27],
        [0.19, 0.45, 0.57, 0.16, 0.63, 0.29, 0.71, 0.70],
        [0.66, 0.26, 0.82, 0.64, 0.54, 0.73, 0.59, 0.26],
        [0.85, 0.34, 0.76, 0.84, 0.29, 0.75, 0.62, 0.25],
        [0.32, 0.74, 0.21, 0.39, 0.34, 0.03, 0.33, 0.48],
        [0.20, 0.14, 0.16, 0.13, 0.73, 0.65, 0.96, 0.32],
        [0.19, 0.69, 0.09, 0.86, 0.88, 0.07, 0.01, 0.48],
        [0.83, 0.24, 0.97, 0.04, 0.24, 0.35, 0.50, 0.91],
    ],
    dtype=torch.float64,
)[None, None]


def box(*corners: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor([[0, *corners]], dtype=dtype)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [((0, 3, 7, 8), [0.85, 0.96, 0.97, 0.91]), ((0, 3, 6, 7), [0.85, 0.96, 0.97, 0.96])],
)
def test_roi_pool_with_inclusive_corners_as_caffe_has_it(corners, expected):
    assert roi_pool(EXAMPLE, box(*corners), 2).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("aligned", "expected"),
    [
        (True, [0.476953, 0.470977, 0.456914, 0.455234]),
        (False, [0.366328, 0.550117, 0.459805, 0.375234]),
    ],
)
def test_roi_align_of_the_same_example(aligned, expected):
    pooled = roi_align(EXAMPLE, box(0, 3, 7, 8), 2, sampling_ratio=2, aligned=aligned)

    torch.testing.assert_close(pooled.flatten(), torch.tensor(expected).double(), atol=5e-7, rtol=0)


def test_roi_pool_of_the_box_0_3_to_7_8_on_0_to_63():
    squares = torch.arange(64.0).reshape(1, 1, 8, 8)

    assert roi_pool(squares, box(0, 3, 7, 8), 2).flatten().tolist() == [43, 47, 59, 63]


def test_the_gradient_of_roi_pool_goes_to_the_first_maximum_alone():
    features = torch.zeros(1, 1, 4, 4, requires_grad=True)

    roi_pool(features, box(0, 0, 3, 3), 1).sum().backward()

    assert features.grad.flatten().tolist() == [1.0] + [0.0] * 15


def test_roi_pool_rounds_halves_away_from_zero():
    ramp = torch.arange(16.0).reshape(1, 1, 1, 16)

    assert roi_pool(ramp, box(2.5, 0, 4.5, 0), 1).item() == 5


@pytest.mark.parametrize("value", [-INF, NAN])
def test_a_bin_of_nothing_but_minus_infinity_or_nan_says_so(value):
    pooled = roi_pool(torch.full((1, 1, 4, 4), value), box(0, 0, 3, 3), 2)

    assert pooled.isnan().all() if value != value else (pooled == value).all()


def test_roi_pool_of_numbers_below_what_float32_holds():
    features = torch.full((1, 1, 4, 4), -1e300, dtype=torch.float64)

    assert (roi_pool(features, box(0, 0, 3, 3), 2) == -1e300).all()


@pytest.mark.parametrize("x2", [1e30, 2e9])
def test_roi_pool_of_a_box_wider_than_integers_reads_the_map(x2):
    features = torch.arange(16.0).reshape(1, 1, 4, 4)

    assert roi_pool(features, box(0, 0, x2, x2), 1).item() == 15


def test_position_sensitive_bins_read_their_own_channels():
    """Every channel holds its number, so the right answer can be read off."""
    features = torch.arange(8.0)[None, :, None, None].expand(1, 8, 6, 6)

    for op in (ps_roi_align, ps_roi_pool):
        pooled = op(features, box(1, 1, 4, 4), 2)
        assert pooled[0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_ps_roi_pool_never_reads_the_last_row_and_column():
    features = torch.zeros(1, 1, 4, 4)
    features[..., -1, :] = 1
    features[..., :, -1] = 1

    assert ps_roi_pool(features, box(0, 0, 4, 4), 1).item() == 0


def test_ps_roi_align_of_a_box_without_area_is_zero():
    assert (ps_roi_align(torch.ones(1, 4, 8, 8), box(5, 5, 5, 5), 2) == 0).all()
