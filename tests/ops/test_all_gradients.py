"""First and second gradients of every differentiable op, over odd shapes and both layouts."""

import pytest
import torch

import perception.ops as ops
from perception.ops import reference
from tests.ops.samples import samples

DIFFERENTIABLE = [name for name, each in samples().items() if each.differentiable]
ON_MAPS = [name for name, each in samples().items() if each.differentiable and each.maps]
OVERLAPS = [name for name in DIFFERENTIABLE if name not in ON_MAPS]
SHAPES = [(5, 6), (1, 1), (2, 7)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def laid_out(sample, layout):
    leaves = [x.detach().clone() for x in sample.inputs]
    leaves[: sample.maps] = [x.contiguous(memory_format=layout) for x in leaves[: sample.maps]]
    return [x.requires_grad_() for x in leaves]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ON_MAPS)
def test_first_gradients_are_exact(name, shape, layout):
    sample = samples(1, shape, 3)[name]

    assert torch.autograd.gradcheck(sample.call, laid_out(sample, layout), fast_mode=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ON_MAPS)
def test_second_gradients_are_exact(name, layout):
    sample = samples(2, (4, 5), 2)[name]

    assert torch.autograd.gradgradcheck(sample.call, laid_out(sample, layout), fast_mode=True)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_no_boxes_have_gradients_too(name):
    sample = samples(0, (4, 5), 0)[name]
    leaves = laid_out(sample, torch.contiguous_format)

    out = sample.run(*leaves)[0]
    first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(
        sum(x.square().sum() for x in first), leaves, materialize_grads=True
    )

    boxes = name.startswith("deform_conv2d")  # which has none
    for leaf, *grads in zip(leaves, first, second, strict=True):
        assert all(g.shape == leaf.shape and (boxes or (g == 0).all()) for g in grads)


@pytest.mark.parametrize("name", [name for name in OVERLAPS if name != "complete_box_iou"])
def test_gradients_of_overlaps_are_exact(name):
    sample = samples()[name]
    leaves = laid_out(sample, torch.contiguous_format)

    assert torch.autograd.gradcheck(sample.call, leaves)
    assert torch.autograd.gradgradcheck(sample.call, leaves)


def test_second_gradients_of_complete_iou_hold_alpha_still():
    """Alpha has no gradient by definition, so numerical differences do not tell."""
    leaves = laid_out(samples()["complete_box_iou"], torch.contiguous_format)

    def twice(op):
        first = torch.autograd.grad(op(*leaves).square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(x.square().sum() for x in first), leaves)

    torch.testing.assert_close(twice(ops.complete_box_iou), twice(reference.complete_box_iou))


def test_a_third_gradient_of_rezoom_is_exact():
    sample = samples(3, (4, 5), 2)["rezoom"]
    x, geometry = laid_out(sample, torch.contiguous_format)

    def slope(x, geometry):
        total = sample.call(x, geometry).square().sum()
        return torch.autograd.grad(total, (x, geometry), create_graph=True)[1]

    assert torch.autograd.gradgradcheck(slope, (x, geometry), fast_mode=True)


def test_boxes_have_no_gradient_where_the_docstring_says_so():
    x = torch.rand(1, 4, 6, 6, requires_grad=True)
    rois = torch.tensor([[0, 0.5, 0.5, 4, 5]], requires_grad=True)
    for pool in (ops.roi_align, ops.roi_pool, ops.ps_roi_align, ops.ps_roi_pool):
        found = torch.autograd.grad(pool(x, rois, 2).sum(), (x, rois), allow_unused=True)
        assert found[0] is not None and found[1] is None
