"""Overlap, suppression and deformable ops as torch sees them: schemas, graphs, autocast."""

import multiprocessing
import threading

import pytest
import torch

from perception import ops

OPS = torch.ops.perception
STEPS = [1, 1], [1, 1], [1, 1]


def tables():
    generator = torch.manual_seed(0)
    corner = torch.rand(6, 2, generator=generator) * 9
    boxes = torch.cat([corner, corner + 1 + torch.rand(6, 2, generator=generator) * 9], 1)
    return boxes, torch.rand(6, generator=generator), torch.arange(6) % 2


def calls():
    """One call of every op by the arguments of its schema."""
    boxes, scores, idxs = tables()
    rotated, grad = torch.cat([boxes, 60 * scores[:, None]], 1), torch.rand(6, 6)
    image, offset, mask = torch.rand(1, 4, 5, 6), torch.rand(1, 8, 6, 7), torch.rand(1, 4, 6, 7)
    weight, out = torch.rand(3, 4, 2, 2), torch.rand(1, 3, 6, 7)
    rois, shift = torch.tensor([[0, 0.5, 1, 4, 4], [0, 2, 1, 5, 3]]), torch.rand(2, 2, 2, 2)
    plain, sensitive = (2, 2, 1.0, 0, 0.1), (2, 1.0, 1, 2, 2, 2, 0.1)
    leaf = [x.clone().requires_grad_() for x in (boxes, image, offset, weight, mask, shift)]
    return {
        "nms": (boxes, scores, 0.5),
        "batched_nms": (boxes, scores, idxs, 0.5),
        "nms_padded": (boxes, scores, idxs, 0.5, 4),
        "nms_rotated": (rotated, scores, 0.5),
        "soft_nms": (boxes, scores, 2, 0.3, 0.5, 0.001),
        "box_voting": (boxes, scores, boxes, scores, 0.5, 3, 1.0),
        "box_iou": (leaf[0], boxes), "generalized_box_iou": (leaf[0], boxes),
        "distance_box_iou": (leaf[0], boxes, 1e-7), "complete_box_iou": (leaf[0], boxes, 1e-7),
        "box_iou_rotated": (rotated, rotated),
        "box_iou_backward": (grad, boxes, boxes),
        "complete_box_iou_backward": (grad, boxes, boxes, 1e-7),
        "deform_conv2d": (leaf[1], leaf[2], leaf[3], None, leaf[4], *STEPS),
        "deform_conv2d_backward": (out, image, offset, weight, mask, *STEPS),
        "deform_roi_pool": (leaf[1], rois, leaf[5], *plain),
        "deform_roi_pool_backward": (torch.rand(2, 4, 2, 2), image, rois, shift, *plain),
        "deform_ps_roi_pool": (leaf[1], rois, leaf[5], *sensitive),
        "deform_ps_roi_pool_backward": (torch.rand(2, 1, 2, 2), image, rois, shift, *sensitive),
    }  # fmt: skip


@pytest.mark.parametrize("name", calls())
def test_every_op_keeps_the_promises_of_its_schema(name):
    torch.library.opcheck(getattr(OPS, name).default, calls()[name])


def test_a_graph_of_these_ops_has_no_break_and_the_same_numbers():
    def head(boxes, scores, idxs, image, offset, weight):
        kept = ops.batched_nms(boxes, scores, idxs, 0.5)
        first, number = ops.nms(boxes, scores, 0.5, max_output=4)
        overlap = ops.generalized_box_iou(boxes[kept], boxes)
        return overlap, first, number, ops.deform_conv2d(image, offset, weight, padding=1)

    torch._dynamo.reset()
    torch._dynamo.config.capture_dynamic_output_shape_ops = True
    compiled = torch.compile(head, fullgraph=True, dynamic=True, backend="aot_eager")
    _, image, offset, weight, *_ = calls()["deform_conv2d_backward"]
    image, offset, weight = image, offset, weight.detach()
    boxes, scores, idxs = tables()
    for count in (6, 3, 0):
        given = boxes[:count], scores[:count], idxs[:count], image, offset, weight
        for got, expected in zip(compiled(*given), head(*given), strict=True):
            torch.testing.assert_close(got, expected)


def test_autocast_keeps_the_dtype_of_the_features_and_the_positions_exact():
    image, offset, weight = (x.detach() for x in calls()["deform_conv2d"][:3])
    with torch.autocast("cpu", torch.bfloat16):
        low = ops.deform_conv2d(image.bfloat16(), offset, weight, padding=1)
        full = ops.deform_conv2d(image, offset, weight, padding=1)

    assert low.dtype == torch.bfloat16 and full.dtype == torch.float32
    torch.testing.assert_close(low.float(), full, rtol=0.02, atol=0.02)


def test_two_python_threads_and_a_forked_process_get_the_same_boxes():
    generator = torch.manual_seed(1)
    corner = torch.rand(2000, 2, generator=generator) * 200
    boxes = torch.cat([corner, corner + torch.rand(2000, 2, generator=generator) * 50], 1)
    scores = torch.rand(2000, generator=generator)
    expected = ops.nms(boxes, scores, 0.5).tolist()
    found = []

    workers = [
        threading.Thread(target=lambda: found.append(ops.nms(boxes, scores, 0.5).tolist()))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 2

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put(ops.nms(boxes, scores, 0.5).tolist()))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join()
