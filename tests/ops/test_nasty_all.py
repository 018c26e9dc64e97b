"""Odd input to every op: nothing is written to, nothing crashes, wrong kinds are named."""

import numpy as np
import pytest
import torch

import perception.ops as ops
from tests.ops.samples import samples

NAN, INF = float("nan"), float("inf")
SAMPLES = samples()
ON_MAPS = [name for name, each in SAMPLES.items() if each.maps]


def rows(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


# every pooling and crop by (map, boxes); the map has four channels
MAP_OPS = {
    "roi_align": lambda x, b: ops.roi_align(x, b, 2),
    "roi_align, two samples": lambda x, b: ops.roi_align(x, b, 2, 1.0, 2),
    "roi_pool": lambda x, b: ops.roi_pool(x, b, 2),
    "ps_roi_align": lambda x, b: ops.ps_roi_align(x, b, 2),
    "ps_roi_pool": lambda x, b: ops.ps_roi_pool(x, b, 2),
    "multi_level_roi_align": lambda x, b: ops.multi_level_roi_align([x, x], b, 2, [1.0, 0.5]),
    "deform_roi_pool": lambda x, b: ops.deform_roi_pool(x, b, None, 2),
    "deform_ps_roi_pool": lambda x, b: ops.deform_ps_roi_pool(x, b, None, 2, output_dim=1),
    "rezoom": lambda x, b: ops.rezoom(x, b, spatial_scale=1.0),
}


# ---------------------------------------------------------------------------- inputs stay


@pytest.mark.parametrize("name", SAMPLES)
def test_inputs_are_read_only(name, tmp_path):
    """They lie in pages that the process may not write to; writing would end it."""
    sample = SAMPLES[name]
    kept = []
    for i, each in enumerate(sample.inputs):
        np.save(tmp_path / f"{i}.npy", each.float().numpy())
        pages = np.load(tmp_path / f"{i}.npy", mmap_mode="r")
        with np.testing.suppress_warnings() as quiet:
            quiet.filter(UserWarning)  # torch warns of just that
            kept.append(torch.from_numpy(pages).requires_grad_(sample.differentiable))

    out = sample.run(*kept)
    if sample.differentiable:
        torch.autograd.grad(out[0].sum(), kept)

    again = sample.run(*(each.float() for each in sample.inputs))
    assert all(torch.equal(a, b) for a, b in zip(out, again, strict=True))


@pytest.mark.parametrize("name", SAMPLES)
def test_shared_memory_is_read_as_any_other(name):
    shared = [each.clone().share_memory_() for each in SAMPLES[name].inputs]

    out, plain = SAMPLES[name].run(*shared), SAMPLES[name].run(*SAMPLES[name].inputs)

    assert all(torch.equal(a, b) for a, b in zip(out, plain, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(shared, SAMPLES[name].inputs, strict=True))


# ---------------------------------------------------------------------------- maps and boxes


@pytest.mark.parametrize("op", MAP_OPS.values(), ids=MAP_OPS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_box_that_is_not_finite_has_no_gradient_and_leaves_the_others_alone(op, value):
    torch.manual_seed(0)
    x = (torch.rand(2, 4, 8, 8) + 0.5).requires_grad_()
    good = rows((1, 1, 1, 6, 5))

    out = op(x, torch.cat([rows((0, value, 1, 6, 5)), good]))
    out.sum().backward()

    assert torch.equal(out[1:], op(x, good)) and out.isfinite().all()
    if op is not MAP_OPS["rezoom"] or value != value:  # whose infinite points are clamped
        assert (out[0] == 0).all() and (x.grad[0] == 0).all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("op", MAP_OPS.values(), ids=MAP_OPS)
@pytest.mark.parametrize("shape", [(0, 4, 8, 8), (1, 4, 0, 8), (1, 4, 8, 0)])
def test_a_map_without_pixels_is_refused_if_there_are_boxes(op, shape):
    with pytest.raises(ValueError, match="no pixels"):
        op(torch.zeros(shape), rows((0, 1, 1, 5, 5)))
    assert op(torch.zeros(shape), torch.zeros(0, 5)).shape[0] == 0


@pytest.mark.parametrize("op", MAP_OPS.values(), ids=MAP_OPS)
@pytest.mark.parametrize("index", [2, -1, 100000, -100000, NAN, INF, 0.9])
def test_an_image_index_out_of_range_is_named(op, index):
    with pytest.raises(ValueError, match="row 1 has image index"):
        op(torch.rand(2, 4, 8, 8), rows((0, 1, 1, 5, 5), (index, 1, 1, 5, 5)))


@pytest.mark.parametrize("name", [n for n in MAP_OPS if n != "deform_ps_roi_pool"])
def test_no_channels_are_an_empty_result(name):
    x = torch.zeros(1, 0, 8, 8, requires_grad=True)

    out = MAP_OPS[name](x, rows((0, 1, 1, 5, 5)))
    out.sum().backward()

    assert out.shape[0] == 1 and out.numel() == 0 and x.grad.shape == x.shape


@pytest.mark.parametrize("op", MAP_OPS.values(), ids=MAP_OPS)
def test_a_box_around_everything_is_finite(op):
    out = op(torch.ones(1, 4, 8, 8), rows((0, -1e30, -1e30, 1e30, 1e30)))

    assert out.isfinite().all() and (out >= 0).all() and (out <= 1).all()


def test_a_box_around_everything_holds_about_nothing_of_it():
    box = rows((0, -1e30, -1e30, 1e30, 1e30))

    for op in (ops.roi_align, ops.ps_roi_align):
        assert op(torch.ones(1, 4, 8, 8), box, 1).max() < 1e-30


@pytest.mark.parametrize("op", [ops.roi_align, ops.ps_roi_align])
def test_a_box_without_area_has_no_adaptive_samples(op):
    settings = {"aligned": True} if op is ops.roi_align else {}

    out = op(torch.ones(1, 4, 8, 8), rows((0, 3, 3, 3, 3)), 2, **settings)

    assert (out == 0).all()


@pytest.mark.parametrize("op", MAP_OPS.values(), ids=MAP_OPS)
@pytest.mark.parametrize("kind", [torch.uint8, torch.complex64, "sparse"])
def test_features_of_another_kind_are_refused(op, kind):
    x = torch.zeros(1, 4, 8, 8)
    with pytest.raises(TypeError):
        op(x.to_sparse() if kind == "sparse" else x.to(kind), rows((0, 1, 1, 5, 5)))


@pytest.mark.parametrize("boxes", [None, 3, np.zeros((1, 5)), [np.zeros((1, 4))]])
def test_boxes_that_are_no_tensors_are_refused(boxes):
    with pytest.raises((TypeError, ValueError), match="boxes"):
        ops.roi_align(torch.zeros(1, 4, 8, 8), boxes, 2)


def test_numbers_of_another_kind_are_refused():
    x, box = torch.zeros(1, 4, 8, 8), rows((0, 1, 1, 5, 5))
    with pytest.raises(TypeError, match="output_size"):
        ops.roi_align(x, box, 2.0)
    with pytest.raises(TypeError, match="sampling_ratio"):
        ops.roi_align(x, box, 2, sampling_ratio=2.5)


# ---------------------------------------------------------------------------- two devices

CPU, FAR = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 8, 8, device="meta")
BOX, SCORES = rows((0.0, 0, 4, 4)), torch.ones(1)
APART = {
    "roi_align": lambda: ops.roi_align(CPU, torch.zeros(1, 5, device="meta"), 2),
    "multi_level_roi_align": lambda: ops.multi_level_roi_align(
        [CPU, FAR], torch.zeros(1, 5), 2, [1.0, 0.5]
    ),
    "levels": lambda: ops.multi_level_roi_align(
        [CPU], torch.zeros(1, 5), 2, [1.0], levels=torch.zeros(1, dtype=torch.long, device="meta")
    ),
    "rezoom": lambda: ops.rezoom(CPU, torch.zeros(1, 5, device="meta")),
    "deform_conv2d": lambda: ops.deform_conv2d(
        CPU, torch.zeros(1, 18, 6, 6, device="meta"), torch.rand(2, 4, 3, 3)
    ),
    "bias": lambda: ops.deform_conv2d(
        CPU, torch.zeros(1, 18, 6, 6), torch.rand(2, 4, 3, 3), torch.zeros(2, device="meta")
    ),
    "deform_roi_pool": lambda: ops.deform_roi_pool(
        CPU, torch.zeros(1, 5), torch.zeros(1, 2, 2, 2, device="meta"), 2
    ),
    "deform_ps_roi_pool": lambda: ops.deform_ps_roi_pool(
        CPU, torch.zeros(1, 5), torch.zeros(1, 2, 2, 2, device="meta"), 2, output_dim=1
    ),
    "nms": lambda: ops.nms(BOX, SCORES.to("meta"), 0.5),
    "batched_nms": lambda: ops.batched_nms(BOX, SCORES, SCORES.long().to("meta"), 0.5),
    "box_voting": lambda: ops.box_voting(BOX, SCORES, BOX.to("meta"), SCORES.to("meta")),
    "box_iou": lambda: ops.box_iou(BOX, BOX.to("meta")),
    "box_iou_rotated": lambda: ops.box_iou_rotated(torch.zeros(1, 5), FAR[0, 0, :1, :5]),
}


@pytest.mark.parametrize("call", APART.values(), ids=APART)
def test_tensors_on_two_devices_are_refused(call):
    """A kernel would read one device's addresses on the other."""
    with pytest.raises(ValueError, match="meta"):
        call()


# ---------------------------------------------------------------------------- suppression


@pytest.mark.parametrize(
    "wrong",
    [rows((0, 0, 1, 1)).to_sparse(), [[0, 0, 1, 1]], torch.zeros(1, 4, dtype=torch.complex64)],
)
def test_boxes_and_scores_of_another_kind_are_refused(wrong):
    with pytest.raises(TypeError):
        ops.nms(wrong, torch.ones(1), 0.5)


def test_a_nan_box_among_classes_takes_nothing_with_it():
    boxes = rows((NAN, 0, 9, 9), (0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 9, 9))
    classes = torch.tensor([0, 0, 0, 1])

    kept = ops.batched_nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), classes, 0.5)

    assert kept.tolist() == [1, 3]


def test_class_ids_are_compared_exactly_and_coordinates_may_be_negative():
    boxes = rows((-100, -100, -1, -1), (-100, -100, -1, -1), (-100, -100, -1, -1))
    scores = torch.tensor([0.9, 0.8, 0.7])

    for ids, kept in (
        ([1, 2, 2], [0, 1]),
        ([10**9, 10**9 + 1, 10**9], [0, 1]),
        ([-3, -3, -2], [0, 2]),
        ([2**62, 2**62, 2**62], [0]),
    ):
        assert ops.batched_nms(boxes, scores, torch.tensor(ids), 0.5).tolist() == kept


def test_soft_nms_of_nothing_has_the_right_dtypes():
    order, scores = ops.soft_nms(torch.zeros(0, 4).double(), torch.zeros(0).double())
    dropped, _ = ops.soft_nms(rows((0, 0, 1, 1)), torch.tensor([NAN]))

    assert order.dtype == torch.int64 and scores.dtype == torch.float64 and len(dropped) == 0


def test_how_many_boxes_stay_is_a_size_of_its_own_when_traced():
    boxes = torch.export.Dim("boxes", min=2, max=1000)

    class Keep(torch.nn.Module):
        def forward(self, b, s):
            return ops.nms(b, s, 0.5)

    program = torch.export.export(
        Keep(), (torch.rand(9, 4), torch.rand(9)), dynamic_shapes=({0: boxes}, {0: boxes})
    )
    size = next(n for n in program.graph.nodes if "nms" in n.name).meta["val"].shape[0]

    assert size.node.expr.name.startswith("u")  # unbacked: known from the values alone


# ---------------------------------------------------------------------------- graphs


def test_no_graph_is_bound_to_a_number_of_boxes():
    def everything(x, boxes, image):
        rois = torch.cat([image, boxes], 1)
        pooled = [op(x, rois).flatten(1) for op in MAP_OPS.values()]
        return torch.cat(pooled, 1), ops.generalized_box_iou(boxes, boxes)

    torch._dynamo.reset()
    compiled = torch.compile(everything, fullgraph=True, dynamic=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for count in (7, 4, 19):
            boxes = torch.rand(count, 4) * 4
            given = CPU, torch.cat([boxes[:, :2], boxes[:, :2] + 3], 1), torch.zeros(count, 1)
            for got, want in zip(compiled(*given), everything(*given), strict=True):
                assert torch.equal(got, want)


# ---------------------------------------------------------------------------- sizes


@pytest.mark.slow
def test_a_result_of_more_than_2_to_31_elements():
    """4.8 GB, of which the last box is looked at."""
    x = torch.arange(2**16 + 1).bfloat16()[None, :, None, None].expand(1, -1, 3, 3)

    out = ops.roi_align(x, rows((0, 0, 0, 2, 2)).repeat(4, 1), 96, sampling_ratio=1)

    assert out.numel() > 2**31 and torch.equal(out[-1, :, -1, -1], x[0, :, 0, 0])


@pytest.mark.slow
def test_a_convolution_of_more_than_2_to_31_samples():
    x = torch.ones(1, 1, 1, 1).expand(1, 64, 1934, 1934)
    offset = torch.zeros(1, 1, 1, 1).expand(1, 18, 1932, 1932)

    out = ops.deform_conv2d(x, offset, torch.ones(1, 64, 3, 3))

    assert 64 * 9 * out.numel() > 2**31 and (out == 576).all()
