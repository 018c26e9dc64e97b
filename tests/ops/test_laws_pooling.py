"""What torch asks of the pooling ops: exact gradients, shape rules, tracing, vmap, autocast."""

import pytest
import torch

import perception.ops as ops

ROIS = torch.tensor(
    [[0, 0.3, 0.2, 4, 5.1], [1, -2.4, 1.3, 9, 3], [0, 3.3, 3.1, 3.3, 3.1], [1, 4, 4, 1, 2.2]]
).double()
POOLS = {
    "align": lambda x: ops.roi_align(x, ROIS, (2, 3), 0.7),
    "align aligned": lambda x: ops.roi_align(x, ROIS, 2, 0.7, 2, True),
    "pool": lambda x: ops.roi_pool(x, ROIS, (2, 3), 0.7),
    "ps align": lambda x: ops.ps_roi_align(x, ROIS, (2, 3), 0.7, 2),
    "ps pool": lambda x: ops.ps_roi_pool(x, ROIS, (2, 3), 0.7),
}
SHAPES = [(2, 6, 6, 5), (2, 6, 1, 1), (2, 6, 2, 7)]


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_first_and_second_gradients_are_exact(name, shape, layout):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()

    assert torch.autograd.gradcheck(POOLS[name], (x,))
    assert torch.autograd.gradgradcheck(POOLS[name], (x,))


def sample_calls() -> list[tuple]:
    torch.manual_seed(0)
    plain = torch.rand(2, 6, 9, 8)
    last = plain.contiguous(memory_format=torch.channels_last)
    rois = ROIS.float()
    op = torch.ops.perception
    calls: list[tuple] = []
    for x in (plain.clone().requires_grad_(), last.requires_grad_()):
        calls += [
            (op.roi_align.default, (x, rois, 0.7, 2, 3, 2, True)),
            (op.roi_pool.default, (x, rois, 0.7, 2, 3)),
            (op.ps_roi_align.default, (x, rois, 0.7, 2, 3, 0)),
            (op.ps_roi_pool.default, (x, rois, 0.7, 2, 3)),
            (op.rezoom.default, (x, rois, [0.0, 0.5], [0.25], 0.5)),
        ]
    settings = (2, False, 224.0, 4)
    levels = [torch.rand(2, 4, 8, 8).requires_grad_(), torch.rand(2, 4, 4, 4).requires_grad_()]
    calls.append((op.multi_level_roi_align.default,
                  (levels, rois, None, [0.25, 0.125], 2, 2, *settings)))  # fmt: skip
    upper = torch.rand(4, 6, 2, 3).requires_grad_()
    shape = [2, 6, 9, 8]
    calls += [
        (op.roi_align_backward.default, (upper, rois, 0.7, shape, 2, True, False)),
        (op.ps_roi_align_backward.default,
         (torch.rand(4, 1, 2, 3).requires_grad_(), rois, 0.7, shape, 2, False)),
        (op.ps_roi_pool_backward.default,
         (torch.rand(4, 1, 2, 3).requires_grad_(), rois, 0.7, shape, False)),
    ]  # fmt: skip
    return calls


@pytest.mark.parametrize("call", sample_calls(), ids=lambda call: call[0]._schema.name)
def test_opcheck_finds_nothing(call):
    torch.library.opcheck(*call)


def test_vmap_over_the_features():
    x = torch.rand(3, 2, 6, 9, 8)
    for pool in POOLS.values():
        together = torch.vmap(pool)(x)
        assert torch.equal(together, torch.stack([pool(each) for each in x]))


def test_meta_tensors_give_shapes():
    x = torch.rand(2, 6, 9, 8, device="meta")

    assert ops.roi_align(x, ROIS.to("meta"), 3).shape == (4, 6, 3, 3)


def test_under_autocast_features_keep_their_dtype():
    x = torch.rand(2, 6, 9, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.roi_align(x, ROIS, 2).dtype == torch.float32
        assert ops.roi_align(x.bfloat16(), ROIS, 2).dtype == torch.bfloat16


def test_modules_carry_torchvisions_names_and_equal_the_functions():
    x, rois = torch.rand(2, 8, 9, 8), ROIS.float()

    assert torch.equal(ops.RoIAlign(2, 0.5, 2)(x, rois), ops.roi_align(x, rois, 2, 0.5, 2))
    assert torch.equal(ops.RoIPool(2, 0.5)(x, rois), ops.roi_pool(x, rois, 2, 0.5))
    assert torch.equal(ops.PSRoIPool(2, 0.5)(x, rois), ops.ps_roi_pool(x, rois, 2, 0.5))
    assert torch.equal(ops.PSRoIAlign(2, 0.5, 2)(x, rois), ops.ps_roi_align(x, rois, 2, 0.5, 2))
    assert "output_size=2" in repr(ops.RoIAlign(2, 0.5, 2))


def test_set_debug_is_a_switch():
    assert ops.set_debug(True) is False
    assert ops.set_debug(False) is True
