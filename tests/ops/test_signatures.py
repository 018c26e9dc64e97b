"""Names, order and defaults of the public arguments: what a changed import relies on."""

import inspect

import pytest
import torch

import perception.ops as ops

# as torchvision has them where it has the op; each may have more arguments behind, with defaults
FUNCTIONS = """
roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False)
roi_pool(input, boxes, output_size, spatial_scale=1.0)
ps_roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1)
ps_roi_pool(input, boxes, output_size, spatial_scale=1.0)
multi_level_roi_align(features, boxes, output_size, spatial_scales, sampling_ratio=-1, aligned=False, canonical_size=224, canonical_level=4, levels=None)
deform_roi_pool(input, boxes, offset, output_size, spatial_scale=1.0, sampling_ratio=0, gamma=0.1)
deform_ps_roi_pool(input, boxes, offset, output_size, spatial_scale=1.0, *, output_dim, group_size=None, part_size=None, sample_per_part=4, trans_std=0.1)
deform_conv2d(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None)
nms(boxes, scores, iou_threshold, *, max_output=None)
batched_nms(boxes, scores, idxs, iou_threshold)
soft_nms(boxes, scores, method='gaussian', iou_threshold=0.3, sigma=0.5, min_score=0.001)
box_voting(boxes, scores, all_boxes, all_scores, iou_threshold=0.5, scoring='id', beta=1.0)
box_iou_rotated(boxes1, boxes2)
nms_rotated(boxes, scores, iou_threshold)
rezoom(features, boxes, w_offsets=(-0.25, 0.0, 0.25), h_offsets=(-0.25, 0.0, 0.25), spatial_scale=0.125)
box_iou(boxes1, boxes2)
generalized_box_iou(boxes1, boxes2)
distance_box_iou(boxes1, boxes2, eps=1e-07)
complete_box_iou(boxes1, boxes2, eps=1e-07)
backend()
"""  # noqa: E501
MODULES = """
RoIAlign(output_size, spatial_scale, sampling_ratio, aligned=False)
RoIPool(output_size, spatial_scale)
PSRoIAlign(output_size, spatial_scale, sampling_ratio)
PSRoIPool(output_size, spatial_scale)
MultiScaleRoIAlign(featmap_names, output_size, sampling_ratio, *, canonical_scale=224, canonical_level=4)
DeformConv2d(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True)
"""  # noqa: E501
FORWARDS = """
RoIAlign(input, rois)
RoIPool(input, rois)
PSRoIAlign(input, rois)
PSRoIPool(input, rois)
MultiScaleRoIAlign(x, boxes, image_shapes)
DeformConv2d(input, offset, mask=None)
"""


def parameters(signature: inspect.Signature) -> list[tuple]:
    return [(p.name, p.kind, p.default) for p in signature.parameters.values() if p.name != "self"]


def listed(text: str) -> list[tuple[str, list[tuple]]]:
    """Name and parameters of every line."""
    found = []
    for line in text.strip().splitlines():
        space: dict = {}
        exec(f"def {line}: pass", space)
        name = line[: line.index("(")]
        found.append((name, parameters(inspect.signature(space[name]))))
    return found


@pytest.mark.parametrize(("name", "expected"), listed(FUNCTIONS))
def test_functions_take_these_arguments(name, expected):
    found = parameters(inspect.signature(getattr(ops, name)))

    assert found[: len(expected)] == expected
    assert all(default is not inspect.Parameter.empty for *_, default in found[len(expected) :])


@pytest.mark.parametrize(("name", "expected"), listed(MODULES))
def test_modules_take_these_arguments(name, expected):
    assert parameters(inspect.signature(getattr(ops, name))) == expected


@pytest.mark.parametrize(("name", "expected"), listed(FORWARDS))
def test_modules_are_called_with_these(name, expected):
    assert parameters(inspect.signature(getattr(ops, name).forward)) == expected


def test_nothing_public_is_left_out():
    names = {name for text in (FUNCTIONS, MODULES) for name, _ in listed(text)}

    assert names | {"set_debug"} == set(ops.__all__)
    assert all(issubclass(getattr(ops, name), torch.nn.Module) for name, _ in listed(MODULES))
