"""Deformable poolings: hand-worked values, laws, gradients, odd boxes."""

import math

import pytest
import torch

from perception.ops import deform_ps_roi_pool, deform_roi_pool

NAN, INF = float("nan"), float("inf")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.manual_seed(seed))


def ramp(size: int = 16) -> torch.Tensor:
    """(1, 2, size, size): channel 0 holds x, channel 1 holds y."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([x, y])[None].double()


def rois(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.double)


# --- worked by hand ------------------------------------------------------------------------------


def test_bins_of_a_ramp_hold_their_centres_plus_the_shift():
    """Box (2, 2)-(10, 6), half-pixel shift: columns centred at 3.5 and 7.5, rows at 2.5 and 4.5.
    Offset 1 moves by gamma times the box: 0.8 in x, 0.4 in y."""
    offset = torch.ones(1, 2, 2, 2, dtype=torch.double)

    plain = deform_roi_pool(ramp(), rois([0, 2, 2, 10, 6]), None, 2)[0]
    moved = deform_roi_pool(ramp(), rois([0, 2, 2, 10, 6]), offset, 2)[0]

    torch.testing.assert_close(plain[0], torch.tensor([[3.5, 7.5]] * 2).double())
    torch.testing.assert_close(plain[1], torch.tensor([[2.5] * 2, [4.5] * 2]).double())
    torch.testing.assert_close(moved[0] - plain[0], torch.full((2, 2), 0.8).double())
    torch.testing.assert_close(moved[1] - plain[1], torch.full((2, 2), 0.4).double())


def test_position_sensitive_bins_sample_the_corners_of_their_parts():
    """Box (2, 4)-(9, 11): x from 1.5 to 9.5, bins of 4; two samples at 0 and 2 in each: means
    2.5 and 6.5 in x, 4.5 and 8.5 in y. Every channel holds x + 100 y."""
    pixels = (ramp()[:, :1] + 100 * ramp()[:, 1:]).expand(1, 4, 16, 16)

    out = deform_ps_roi_pool(
        pixels, rois([0, 2, 4, 9, 11]), None, 2, output_dim=1, sample_per_part=2
    )

    assert out.flatten().tolist() == [452.5, 456.5, 852.5, 856.5]


def test_every_bin_reads_its_own_channel():
    pixels = torch.arange(18.0).reshape(1, 18, 1, 1).expand(1, 18, 9, 9)

    out = deform_ps_roi_pool(pixels, rois([0, 1, 1, 6, 6]), None, 3, output_dim=2)

    assert out.flatten().tolist() == list(range(18))


def test_samples_outside_the_map_do_not_count():
    """All of a box's left half lies outside; the mean is that of the rest."""
    out = deform_ps_roi_pool(torch.ones(1, 1, 8, 8), rois([0, -5, 1, 4, 6]), None, 1, output_dim=1)

    assert out.item() == 1


def test_classes_have_their_own_offsets():
    pixels = ramp()[:, :1].expand(1, 2, 16, 16)
    offset = torch.zeros(1, 4, 1, 1).double()
    offset[0, 2] = 1  # x of class 1, times 0.1 times the width of 4

    out = deform_ps_roi_pool(
        pixels, rois([0, 4, 4, 7, 7]), offset, 1, output_dim=2, group_size=1
    ).flatten()

    assert (out[1] - out[0]).item() == pytest.approx(0.4)


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_gradients_of_deform_roi_pool_are_exact(ratio, last):
    features = draw(0, 2, 3, 7, 9)
    if last:
        features = features.contiguous(memory_format=torch.channels_last)
    boxes = rois([0, 1.3, 2.1, 11.9, 10.2], [1, -4, 3, 30, 9], [0, 8, 8, 6, 5], [1, NAN, 0, 3, 3])
    offset = (draw(1, 4, 2, 2, 3) * 2).requires_grad_()

    def pool(features, offset):
        return deform_roi_pool(features, boxes, offset, (2, 3), 0.7, ratio, 0.1)

    assert torch.autograd.gradcheck(pool, (features.requires_grad_(), offset), fast_mode=True)


@pytest.mark.parametrize("part", [2, 3])
def test_gradients_of_deform_ps_roi_pool_are_exact(part):
    features = draw(0, 2, 16, 7, 9).requires_grad_()
    boxes = rois([0, 1.3, 2.1, 11.9, 10.2], [1, -4, 3, 30, 9], [1, NAN, 0, 3, 3])
    offset = draw(1, 3, 4, part, part).requires_grad_()

    def pool(features, offset):
        return deform_ps_roi_pool(
            features,
            boxes,
            offset,
            3,
            0.7,
            output_dim=4,
            group_size=2,
            part_size=part,
            sample_per_part=3,
        )

    assert torch.autograd.gradcheck(pool, (features, offset), fast_mode=True)


# --- odd boxes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_box_that_is_not_finite_gives_zero_and_leaves_the_others_alone(bad):
    features = draw(0, 1, 4, 8, 8).requires_grad_()
    boxes = rois([0, 1, 1, 6, 6], [0, bad, 1, 6, 6])
    offset = torch.full((2, 2, 2, 2), 0.1, dtype=torch.double, requires_grad=True)

    plain = deform_roi_pool(features, boxes, offset, 2)
    sensitive = deform_ps_roi_pool(features, boxes, offset, 2, output_dim=1)
    (plain.sum() + sensitive.sum()).backward()

    for out in (plain, sensitive):
        assert (out[1] == 0).all() and (out[0] != 0).any() and out.isfinite().all()
    assert features.grad.isfinite().all() and (offset.grad[1] == 0).all()


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1e30])
def test_an_offset_to_nowhere_gives_zero_without_gradient(bad):
    features = draw(0, 1, 4, 8, 8).requires_grad_()
    offset = torch.full((1, 2, 2, 2), bad, dtype=torch.double, requires_grad=True)
    boxes = rois([0, 1, 1, 6, 6])

    plain = deform_roi_pool(features, boxes, offset, 2)
    sensitive = deform_ps_roi_pool(features, boxes, offset, 2, output_dim=1)
    (plain.sum() + sensitive.sum()).backward()

    assert (plain == 0).all() and (sensitive == 0).all()
    assert (features.grad == 0).all() and (offset.grad == 0).all()


@pytest.mark.parametrize("side", [1e5, 1e9, 1e30])
def test_the_work_does_not_grow_with_the_box(side):
    """Ones: the samples on the map, at 0, 1, ... 16 on both axes, over all of them."""
    out = deform_roi_pool(torch.ones(1, 1, 16, 16), rois([0, 0, 0, side, side]), None, 1)

    assert out.item() == pytest.approx((17 / side) ** 2, rel=1e-5, abs=1e-20)


def test_65535_samples_are_summed_along_the_axes():
    # 65535 ** 2 of them would take hours
    out = deform_roi_pool(ramp(), rois([0, 2, 2, 10, 6]), None, 2, sampling_ratio=65535)

    torch.testing.assert_close(out[0, 0, 0], torch.tensor([3.5, 7.5]).double())


def test_a_pixel_of_weight_zero_does_not_count_even_if_infinite():
    features = torch.full((1, 1, 8, 8), NAN)
    features[..., :5, :5] = 1

    out = deform_roi_pool(features, rois([0, 0.5, 0.5, 4.5, 4.5]).float(), None, 2)

    assert out.eq(1).all()


def test_no_boxes_give_an_empty_result_and_a_zero_gradient():
    features = torch.rand(1, 4, 8, 8, requires_grad=True)
    offset = torch.zeros(0, 2, 2, 2)

    plain = deform_roi_pool(features, torch.zeros(0, 5), offset, 2)
    sensitive = deform_ps_roi_pool(features, torch.zeros(0, 5), offset, 2, output_dim=1)
    (plain.sum() + sensitive.sum()).backward()

    assert plain.shape == (0, 4, 2, 2) and sensitive.shape == (0, 1, 2, 2)
    assert (features.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accepted_and_sums_in_float32(dtype):
    features = torch.full((1, 4, 8, 8), 6e4).to(dtype)
    boxes = torch.tensor([[0, 1, 1, 6, 6]]).to(dtype)

    for out in (
        deform_roi_pool(features, boxes, None, 1, sampling_ratio=4),
        deform_ps_roi_pool(features, boxes, None, 2, output_dim=1),
    ):
        assert out.dtype == dtype and out.eq(features[0, 0, 0, 0]).all()


def test_the_memory_format_stays_and_a_list_of_boxes_is_accepted():
    features = draw(0, 2, 4, 8, 8)
    last = features.contiguous(memory_format=torch.channels_last)
    boxes = [rois([1, 1, 6, 6]), rois([2, 2, 5, 7], [0, 0, 3, 3])]
    numbered = rois([0, 1, 1, 6, 6], [1, 2, 2, 5, 7], [1, 0, 0, 3, 3])

    expected = deform_roi_pool(features, numbered, None, 2)

    torch.testing.assert_close(deform_roi_pool(features, boxes, None, 2), expected)
    out = deform_roi_pool(last, boxes, None, 2)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("index", [3, -1, 0.5, NAN, INF])
def test_an_image_index_out_of_range_is_refused(index):
    for pool in (
        lambda b: deform_roi_pool(torch.rand(2, 4, 8, 8), b, None, 2),
        lambda b: deform_ps_roi_pool(torch.rand(2, 4, 8, 8), b, None, 2, output_dim=1),
    ):
        with pytest.raises(ValueError, match=r"row 1 .*from 0 to 1"):
            pool(rois([0, 0, 0, 5, 5], [index, 0, 0, 5, 5]))


@pytest.mark.parametrize(
    "change",
    [
        {"output_size": 0},
        {"output_dim": 0},
        {"group_size": 3},
        {"part_size": 0},
        {"sample_per_part": 0},
        {"trans_std": NAN},
        {"spatial_scale": 0.0},
        {"offset": torch.zeros(1, 3, 2, 2)},
        {"offset": torch.zeros(1, 2, 3, 3)},
    ],
)
def test_numbers_that_do_not_fit_are_refused(change):
    fine = {
        "input": torch.zeros(1, 4, 8, 8),
        "boxes": torch.tensor([[0, 0, 0, 5, 5]]),
        "offset": None,
        "output_size": 2,
        "output_dim": 1,
    }
    with pytest.raises(ValueError, match=r"must|output_size"):
        deform_ps_roi_pool(**{**fine, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"output_size": -1},
        {"spatial_scale": -1.0},
        {"spatial_scale": NAN},
        {"gamma": INF},
        {"sampling_ratio": 2**31},
        {"sampling_ratio": 65536},
        {"input": torch.zeros(1, 4, 0, 8)},
        {"offset": torch.zeros(1, 2, 3, 3)},
        {"boxes": torch.zeros(1, 4)},
    ],
)
def test_wrong_arguments_of_deform_roi_pool_are_refused(change):
    fine = {
        "input": torch.zeros(1, 4, 8, 8),
        "boxes": torch.tensor([[0, 0, 0, 5, 5]]),
        "offset": None,
        "output_size": 2,
    }
    with pytest.raises(ValueError):
        deform_roi_pool(**{**fine, **change})


def test_a_reversed_box_with_a_fixed_number_of_samples_reads_mirrored():
    there = deform_roi_pool(ramp(), rois([0, 2, 2, 10, 6]), None, 2, sampling_ratio=2)
    back = deform_roi_pool(ramp(), rois([0, 10, 6, 2, 2]), None, 2, sampling_ratio=2)

    torch.testing.assert_close(back, there.flip(2, 3))
    assert (deform_roi_pool(ramp(), rois([0, 10, 6, 2, 2]), None, 2) == 0).all()
    assert math.isfinite(back.sum().item())
