"""Overlaps computed elsewhere (scoring in numpy, pairs in losses) equal those of the ops."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.annotation.checks import _iou as overlaps_of_shapes
from perception.evaluation.coco.evaluator import _overlap as coco_overlap
from perception.evaluation.kitti_object.overlap import image_overlap
from perception.models.heads.cells import paired_iou
from perception.models.losses.boxes import generalized_iou_loss
from perception.ops import box_iou, generalized_box_iou

POSITIVE = st.floats(0.5, 500).map(lambda v: round(v, 2))
PAIRS = arrays(np.float64, (4, 2, 4), elements=POSITIVE)


@settings(deadline=None, max_examples=50)
@given(PAIRS)
def test_overlap_of_pairs_is_the_same_everywhere(numbers):
    corners = np.concatenate([numbers[..., :2], numbers[..., :2] + numbers[..., 2:]], axis=-1)
    a, b = torch.from_numpy(corners).unbind(1)
    want = box_iou(a, b).diagonal()

    scored = image_overlap(corners[:, 0], corners[:, 1]).iou
    np.testing.assert_allclose(scored, want.numpy(), rtol=1e-12, atol=1e-15)
    coco = coco_overlap(corners[:, 0], corners[:, 1], np.zeros(len(corners), bool))
    np.testing.assert_allclose(coco, want.numpy(), rtol=1e-12, atol=1e-15)
    shapes = overlaps_of_shapes(corners[:, 0])
    np.testing.assert_allclose(shapes, box_iou(a, a).numpy(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(paired_iou(a, b), want, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        1 - generalized_iou_loss(a, b).double(),
        generalized_box_iou(a, b).diagonal(),
        rtol=1e-4,
        atol=1e-5,
    )
