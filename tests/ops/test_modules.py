"""The modules carry torchvision's names and arguments and equal the functions."""

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
