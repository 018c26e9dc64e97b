"""The definitions of the ops in plain PyTorch; the compiled kernels are held to them.

They take the arguments of the dispatcher's ops (`torch.ops.perception`), which the public functions
in `perception.ops` have checked and brought into one form.
"""

from perception.ops.reference.boxes import (
    box_iou,
    box_iou_backward,
    complete_box_iou,
    complete_box_iou_backward,
    distance_box_iou,
    distance_box_iou_backward,
    generalized_box_iou,
    generalized_box_iou_backward,
)
from perception.ops.reference.deform_conv import deform_conv2d, deform_conv2d_backward
from perception.ops.reference.deform_pool import (
    deform_ps_roi_pool,
    deform_ps_roi_pool_backward,
    deform_roi_pool,
    deform_roi_pool_backward,
)
from perception.ops.reference.multi_level import (
    multi_level_roi_align,
    multi_level_roi_align_backward,
)
from perception.ops.reference.rezoom import rezoom, rezoom_backward
from perception.ops.reference.roi_align import layout_of, roi_align, roi_align_backward
from perception.ops.reference.roi_pool import (
    ps_roi_align,
    ps_roi_align_backward,
    ps_roi_pool,
    ps_roi_pool_backward,
    roi_pool,
    roi_pool_backward,
)
from perception.ops.reference.rotated import box_iou_rotated
from perception.ops.reference.suppression import (
    batched_nms,
    box_voting,
    nms,
    nms_padded,
    nms_rotated,
    soft_nms,
)

__all__ = [
    "batched_nms",
    "box_iou",
    "box_iou_backward",
    "box_iou_rotated",
    "box_voting",
    "complete_box_iou",
    "complete_box_iou_backward",
    "deform_conv2d",
    "deform_conv2d_backward",
    "deform_ps_roi_pool",
    "deform_ps_roi_pool_backward",
    "deform_roi_pool",
    "deform_roi_pool_backward",
    "distance_box_iou",
    "distance_box_iou_backward",
    "generalized_box_iou",
    "generalized_box_iou_backward",
    "layout_of",
    "multi_level_roi_align",
    "multi_level_roi_align_backward",
    "nms",
    "nms_padded",
    "nms_rotated",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "rezoom",
    "rezoom_backward",
    "roi_align",
    "roi_align_backward",
    "roi_pool",
    "roi_pool_backward",
    "soft_nms",
]
