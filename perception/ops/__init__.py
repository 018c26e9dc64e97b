"""Region-of-interest operators with torchvision's signatures."""

from perception.ops._arguments import set_debug
from perception.ops._native import backend
from perception.ops.align import multi_level_roi_align, roi_align
from perception.ops.boxes import (
    box_iou,
    box_iou_rotated,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
)
from perception.ops.crop import rezoom
from perception.ops.deform_conv import DeformConv2d, deform_conv2d
from perception.ops.deform_pool import deform_ps_roi_pool, deform_roi_pool
from perception.ops.modules import MultiScaleRoIAlign, PSRoIAlign, PSRoIPool, RoIAlign, RoIPool
from perception.ops.pooling import ps_roi_align, ps_roi_pool, roi_pool
from perception.ops.suppression import batched_nms, box_voting, nms, nms_rotated, soft_nms

__all__ = [
    "DeformConv2d",
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "RoIAlign",
    "RoIPool",
    "backend",
    "batched_nms",
    "box_iou",
    "box_iou_rotated",
    "box_voting",
    "complete_box_iou",
    "deform_conv2d",
    "deform_ps_roi_pool",
    "deform_roi_pool",
    "distance_box_iou",
    "generalized_box_iou",
    "multi_level_roi_align",
    "nms",
    "nms_rotated",
    "ps_roi_align",
    "ps_roi_pool",
    "rezoom",
    "roi_align",
    "roi_pool",
    "set_debug",
    "soft_nms",
]
