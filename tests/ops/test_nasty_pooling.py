"""Odd input to the pooling ops: no crash, the demanded value or the demanded error."""

import time

import pytest
import torch

from perception.ops import (
    multi_level_roi_align,
    ps_roi_align,
    ps_roi_pool,
    rezoom,
    roi_align,
    roi_pool,
)

NAN, INF = float("nan"), float("inf")
POOLS = [roi_align, roi_pool, ps_roi_align, ps_roi_pool]


def features(channels: int = 4, size: int = 16, images: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(images, channels, size, size) + 0.5


def rows(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("index", [7, -1, 100000, -100000, NAN, INF, 0.9, 1e9])
def test_an_image_index_out_of_range_is_named(pool, index):
    with pytest.raises(ValueError, match="row 1 has image index"):
        pool(features(), rows((0, 0, 0, 8, 8), (index, 0, 0, 8, 8)), 2)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "boxes", [rows((0, 0, 0, 8)), torch.zeros(5), [torch.zeros(1, 4)] * 3, [torch.zeros(1, 5)]]
)
def test_boxes_of_another_shape_are_refused(pool, boxes):
    with pytest.raises(ValueError, match="boxes"):
        pool(features(), boxes, 2)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_box_that_is_not_finite_gives_zeros_and_no_gradient(pool, value):
    x = features().requires_grad_()
    boxes = rows((0, value, 0, 8, 8), (1, 0, 0, 8, 8), (0, 0, 0, value, 8))

    out = pool(x, boxes, 2)
    out.sum().backward()

    assert (out[0] == 0).all() and (out[2] == 0).all() and (out[1] != 0).all()
    assert (x.grad[0] == 0).all() and x.grad.isfinite().all()


@pytest.mark.parametrize("wide", [2e4, 1e5, 1e6, 1e12, 1e30])
@pytest.mark.parametrize("pool", [roi_align, ps_roi_align])
def test_a_huge_box_costs_no_more_than_the_map_and_has_its_true_value(pool, wide):
    """One sample per cell: 16 of them on the map, of about wide / bins per axis."""
    ones = torch.ones(1, 1, 16, 16)
    start = time.perf_counter()

    out = pool(ones, rows((0, 0, 0, wide, wide)), 1)

    assert time.perf_counter() - start < 20  # torchvision does not end
    assert 0 <= out.item() < 1.2 * (17 / wide) ** 2
    if wide <= 1e6:
        assert out.item() > 0.9 * (16 / wide) ** 2


def test_the_largest_sampling_ratio_runs_and_larger_ones_are_refused():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)

    out = roi_align(ramp, rows((0, 1, 1, 5, 5)), 2, sampling_ratio=65535)

    assert out.flatten().tolist() == pytest.approx([2, 4, 2, 4])
    for ratio in (65536, 100000, 2**31, 2**40):
        with pytest.raises(ValueError, match="65535"):
            roi_align(ramp, rows((0, 1, 1, 5, 5)), 2, sampling_ratio=ratio)


def test_a_reversed_box_is_mirrored_empty_or_widened():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    backwards, forwards = rows((0, 6, 1, 2, 5)), rows((0, 2, 1, 6, 5))

    mirrored = roi_align(ramp, backwards, 2, sampling_ratio=2, aligned=True)
    straight = roi_align(ramp, forwards, 2, sampling_ratio=2, aligned=True)
    assert torch.equal(mirrored, straight.flip(3))
    assert (roi_align(ramp, backwards, 2, aligned=True) == 0).all()
    one_cell = roi_align(ramp, rows((0, 6, 1, 7, 5)), 2)
    assert torch.equal(roi_align(ramp, backwards, 2), one_cell)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("shape", [(0, 4, 8, 8), (1, 4, 0, 8), (1, 4, 8, 0)])
def test_a_map_without_pixels_is_refused_if_there_are_boxes(pool, shape):
    with pytest.raises(ValueError):
        pool(torch.zeros(shape), rows((0, 0, 0, 5, 5)), 2)
    assert pool(torch.zeros(shape), torch.zeros(0, 5), 2).shape[0] == 0


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_no_boxes_and_no_channels_are_empty_results_with_a_backward(pool, layout):
    x = features().contiguous(memory_format=layout).requires_grad_()

    out = pool(x, torch.zeros(0, 5), 2)
    out.sum().backward()

    assert out.shape[0] == 0 and (x.grad == 0).all()
    assert pool(torch.zeros(1, 0, 8, 8), rows((0, 0, 0, 5, 5)), 2).shape == (1, 0, 2, 2)


def test_output_sizes_at_the_edge():
    x, box = features(), rows((0, 0, 0, 8, 8))

    assert roi_align(x, box, 0).shape == (1, 4, 0, 0)
    for pool in (roi_pool, ps_roi_align, ps_roi_pool):
        with pytest.raises(ValueError, match="output_size"):
            pool(x, box, 0)
    for pool in POOLS:
        with pytest.raises(ValueError, match="output_size"):
            pool(x, box, -1)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("scale", [0, -1, NAN, INF])
def test_a_scale_that_is_none_is_refused(pool, scale):
    with pytest.raises(ValueError, match="spatial_scale"):
        pool(features(), rows((0, 0, 0, 8, 8)), 2, scale)


@pytest.mark.parametrize("pool", POOLS)
def test_dtypes_that_are_taken_and_those_that_are_not(pool):
    x, box = features(), rows((0, 0.7, 0.2, 8, 8))

    assert pool(x.double(), box, 2).dtype == torch.float64
    assert pool(x.bfloat16(), box.bfloat16(), 2).dtype == torch.bfloat16
    assert pool(x, torch.tensor([[0, 0, 0, 8, 8]]), 2).dtype == torch.float32
    for wrong in (x.to(torch.uint8), x.to(torch.complex64), x.to_sparse()):
        with pytest.raises(TypeError):
            pool(wrong, box, 2)
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        pool(x[0], box, 2)


def test_large_half_precision_features_are_summed_in_float32():
    x = torch.full((1, 1, 8, 8), 6e4, dtype=torch.float16)

    assert roi_align(x, rows((0, 0, 0, 8, 8)), 1, sampling_ratio=4).item() == 6e4


def test_a_tensor_of_more_elements_than_memory_holds_is_read_where_it_is_touched():
    x = torch.ones(1, 1, 1, 1).expand(50, 50, 1000, 1000)

    for pool, size in ((roi_align, 2), (roi_pool, 2), (ps_roi_align, (5, 5))):
        out = pool(x, rows((49, 10, 10, 50, 60)), size)
        torch.testing.assert_close(out, torch.ones_like(out))


def test_channels_must_fill_the_bins():
    for pool in (ps_roi_align, ps_roi_pool):
        with pytest.raises(ValueError, match="multiple of 4"):
            pool(torch.zeros(1, 5, 8, 8), rows((0, 0, 0, 5, 5)), 2)


def test_rezoom_of_points_that_are_none_or_far_away():
    x = features(2, 8, 1)
    boxes = rows((0, 1e30, NAN, 5, 5), (0, INF, 0, 1, 1), (0, 1e30, -1e30, 1, 1))

    out = rezoom(x, boxes)

    assert (out[0] == 0).all() and out.isfinite().all()
    assert torch.equal(out[2].view(9, 2)[4], x[0, :, 0, 7])


def test_a_pyramid_takes_all_of_these_boxes():
    maps = [torch.rand(1, 2, 16, 16), torch.rand(1, 2, 8, 8)]
    boxes = rows((0, 0, 0, NAN, 9), (0, 5, 5, 5, 5), (0, 9, 9, 1, 1), (0, 0, 0, 1e30, 1e30))

    assert multi_level_roi_align(maps, boxes, 2, [0.25, 0.125]).isfinite().all()
