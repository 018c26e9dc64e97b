"""The modules carry torchvision's names and arguments and equal the functions."""

import pytest
import torch

import perception.ops as ops

ROIS = torch.tensor(
    [[0, 0.3, 0.2, 4, 5.1], [1, -2.4, 1.3, 9, 3], [0, 3.3, 3.1, 3.3, 3.1], [1, 4, 4, 1, 2.2]]
)


def test_modules_equal_the_functions():
    x = torch.rand(2, 8, 9, 8)

    assert torch.equal(ops.RoIAlign(2, 0.5, 2)(x, ROIS), ops.roi_align(x, ROIS, 2, 0.5, 2))
    assert torch.equal(ops.RoIPool(2, 0.5)(x, ROIS), ops.roi_pool(x, ROIS, 2, 0.5))
    assert torch.equal(ops.PSRoIPool(2, 0.5)(x, ROIS), ops.ps_roi_pool(x, ROIS, 2, 0.5))
    assert torch.equal(ops.PSRoIAlign(2, 0.5, 2)(x, ROIS), ops.ps_roi_align(x, ROIS, 2, 0.5, 2))
    assert "output_size=2" in repr(ops.RoIAlign(2, 0.5, 2))


def test_set_debug_is_a_switch():
    assert ops.set_debug(True) is False
    assert ops.set_debug(False) is True


def test_the_pyramid_module_finds_the_scales_and_leaves_other_maps_out():
    """Maps of a 96 x 120 input; 12 columns of stride 8 would be 15, the power of two counts."""
    torch.manual_seed(0)
    maps = {
        name: torch.rand(2, 3, *size)
        for name, size in {"0": (24, 30), "1": (12, 15), "2": (6, 8), "pool": (3, 4)}.items()
    }
    boxes = [torch.tensor([[3.0, 4, 60, 70]]), torch.tensor([[1.0, 2, 9, 11], [0, 0, 110, 90]])]
    module = ops.MultiScaleRoIAlign(["0", "1", "2"], 3, 2, canonical_scale=32, canonical_level=3)

    pooled = module(maps, boxes, [(96, 100), (80, 120)])

    expected = ops.multi_level_roi_align(
        [maps[name] for name in "012"], boxes, 3, [1 / 4, 1 / 8, 1 / 16], 2, False, 32, 3
    )
    assert torch.equal(pooled, expected)
    assert module.output_size == (3, 3) and "featmap_names=['0', '1', '2']" in repr(module)


def test_the_pyramid_module_of_one_map_is_roi_align():
    x, boxes = torch.rand(1, 3, 12, 15), [torch.tensor([[3.0, 4, 60, 70]])]

    pooled = ops.MultiScaleRoIAlign(["p"], (2, 4), 2)({"p": x}, boxes, [(96, 120)])

    assert torch.equal(pooled, ops.roi_align(x, boxes, (2, 4), 1 / 8, 2))


def test_the_pyramid_module_refuses_maps_that_are_not_there():
    with pytest.raises(ValueError, match=r"found maps \['a'\]"):
        ops.MultiScaleRoIAlign(["b"], 2, 2)({"a": torch.rand(1, 1, 4, 4)}, [], [(8, 8)])
