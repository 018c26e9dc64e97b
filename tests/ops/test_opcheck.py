"""Every registered op and every gradient's op keeps what its schema and shape rule promise."""

import pytest
import torch

import perception.ops as ops
from tests.ops.samples import recorded, samples

LEAVES = {"features", "input", "offset", "weight", "bias", "mask", "grad", "boxes1", "boxes2"}
# their second gradients run the definitions, which look at values: they are not for tracing
NO_TRACED_SECOND = ("deform_", "rezoom", "box_iou", "generalized", "distance", "complete")


def calls(layout: torch.memory_format) -> dict[str, tuple]:
    """The first call of every op that the samples reach, as (op, arguments)."""
    found: dict[str, tuple] = {}
    for sample in samples().values():
        leaves = [x.float() for x in sample.inputs]
        leaves[: sample.maps] = [x.to(memory_format=layout) for x in leaves[: sample.maps]]

        def run(sample=sample, leaves=leaves):
            given = [x.requires_grad_(sample.differentiable) for x in leaves]
            out = sample.run(*given)
            if sample.differentiable:
                torch.autograd.grad(out[0], given, torch.rand_like(out[0]))

        for op, args in recorded(run):
            found.setdefault(op._schema.name.split("::")[1], (op, fresh(op, args)))
    return found


def fresh(op, args: tuple) -> tuple:
    """The same arguments as leaves, those with gradients marked."""

    name = op._schema.name.split("::")[1]
    traced = not (name.endswith("_backward") and name.startswith(NO_TRACED_SECOND))
    traced = traced and name != "box_iou_rotated"

    def leaf(value, name):
        if isinstance(value, (list, tuple)):
            return [leaf(each, name) for each in value]
        if not isinstance(value, torch.Tensor):
            return value
        return value.detach().clone().requires_grad_(traced and name in LEAVES)

    return tuple(leaf(x, a.name) for x, a in zip(args, op._schema.arguments, strict=True))


CALLS = calls(torch.contiguous_format)
LAST = {
    name: call for name, call in calls(torch.channels_last).items() if not name.endswith("box_iou")
}


def test_no_registered_op_is_forgotten():
    names = torch._C._dispatch_get_all_op_names()
    ours = {name.split("::")[1] for name in names if name.startswith("perception::")}

    assert ours == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_opcheck_finds_nothing(name):
    torch.library.opcheck(*CALLS[name])


@pytest.mark.parametrize("name", LAST)
def test_shape_rules_know_channels_last(name):
    torch.library.opcheck(*LAST[name], test_utils=("test_schema", "test_faketensor"))


def test_vmap_over_everything_equals_a_loop():
    for name, sample in samples(count=3).items():
        if sample.differentiable:
            inputs = [torch.stack([x, x.flip(-1), x + 0.3]).float() for x in sample.inputs]
            together = torch.vmap(sample.call)(*inputs)
            alone = [sample.run(*each)[0] for each in zip(*inputs, strict=True)]
            assert torch.equal(together, torch.stack(alone)), name


def test_meta_tensors_give_shapes():
    x, rois = torch.rand(2, 6, 9, 8, device="meta"), torch.rand(4, 5, device="meta")

    assert ops.roi_align(x, rois, 3).shape == (4, 6, 3, 3)
    assert ops.rezoom(x, rois).shape == (4, 54)
    with pytest.raises(RuntimeError):  # how many boxes stay depends on their values
        ops.nms(rois[:, 1:], rois[:, 0], 0.5)
