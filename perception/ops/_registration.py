"""How an op gets into torch: its schema, its definition, its shape rule, its gradient.

`define` gives `torch.ops.perception.<name>`. The definition (plain PyTorch) serves every device
that has no compiled kernel; the native library, when it is there, registers the CPU and CUDA
kernels of the same schemas from C++. So compiled, exported and traced graphs hold the same op
either way.

Under autocast an op keeps the dtypes of its arguments, unless it has a rule, and autocast is off
below it: neither a definition nor a kernel that calls torch's own ops is rounded inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

LIBRARY = torch.library.Library("perception", "DEF")
_AUTOCAST = {"cpu": torch._C.DispatchKey.AutocastCPU, "cuda": torch._C.DispatchKey.AutocastCUDA}


def define(
    schema: str,
    *,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    autocast: Callable[..., tuple[Any, ...]] | None = None,
) -> Any:
    """Defines one op and returns it (an `OpOverload`).

    Args:
        schema: e.g. "nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor".
        reference: the definition; takes the schema's arguments.
        fake: the result without values (shape, dtype, layout), for tracing.
        setup: `setup(ctx, inputs, output)`, saves what `backward` needs; None: no gradient.
        backward: `backward(ctx, *grads)`, one gradient (or None) per argument.
        autocast: `autocast(dtype, *arguments)`, the arguments to use in an autocast region of that
            dtype; None: as they are.
    """
    name = "perception::" + schema[: schema.index("(")]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(name, fake, lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(name, backward, setup_context=setup, lib=LIBRARY)
    op = getattr(torch.ops.perception, name.removeprefix("perception::")).default
    torch.library.register_vmap(name, _vmap_loop(op), lib=LIBRARY)
    for device in _AUTOCAST:
        _register_autocast(name, op, device, autocast)
    return op


def call(op: Any, *args: Any) -> Tensor:
    """Calls an op of one result; without a gradient to record, passes over its autograd layer.

    That layer is written in Python and costs more than the kernel for ten boxes.
    """
    result: Tensor = _call(op, args)
    return result


def call_pair(op: Any, *args: Any) -> tuple[Tensor, Tensor]:
    """`call` for an op of two results."""
    results: tuple[Tensor, Tensor] = _call(op, args)
    return results


def _call(op: Any, args: tuple[Any, ...]) -> Any:
    if torch.compiler.is_compiling():
        return op(*args)
    if torch.is_grad_enabled() and any(_needs_grad(arg) for arg in args):
        return op(*args)
    if forward_ad._current_level >= 0:  # not supported: the autograd layer says so
        return op(*args)
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


def twice_differentiable(
    reference: Callable[..., Any], *, by: Callable[..., Tensor], places: Sequence[int]
) -> dict[str, Callable[..., Any]]:
    """`reference`, `setup` and `backward` of an op that is itself the gradient of a definition.

    That definition is differentiated twice by torch: right for every input, but slow.

    Args:
        reference: the op's own definition, which may use autograd.
        by: the definition it is the gradient of; takes what the op takes after `grad`.
        places: which of these the op returns gradients for, in its order; a None has none.
    """

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.settings = [None if isinstance(each, Tensor) else each for each in inputs]
        ctx.tensors = [i for i, each in enumerate(inputs) if isinstance(each, Tensor)]
        ctx.save_for_backward(*(inputs[i] for i in ctx.tensors))

    def backward(ctx: Any, *upper: Tensor) -> tuple[Any, ...]:
        given = list(ctx.settings)
        for i, each in zip(ctx.tensors, ctx.saved_tensors, strict=True):
            given[i] = each
        found = [i for i in places if given[1 + i] is not None]
        leaves = [0, *(1 + i for i in found)]
        for i in leaves:
            given[i] = _alone(given[i])
        above = [each for i, each in zip(places, upper, strict=True) if i in found]
        keep = torch.is_grad_enabled()  # for a third derivative
        with torch.enable_grad():
            inputs = [given[i] for i in leaves]
            once = _gradients(by(*given[1:]), inputs[1:], given[0], keep=True)
            twice = _gradients(once, inputs, above, keep=keep)
        result: list[Any] = [None] * len(given)
        for i, each in zip(leaves, twice, strict=True):
            result[i] = each
        return tuple(result)

    return {"reference": _with_autograd(reference), "setup": setup, "backward": backward}


def _with_autograd(definition: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a place below the autograd layer, where autograd is off."""

    def run(*args: Any) -> Any:
        exclude = torch._C._dispatch_tls_local_exclude_set()
        for key in (torch._C.DispatchKey.AutogradCPU, torch._C.DispatchKey.ADInplaceOrView):
            exclude = exclude.remove(key)
        include = torch._C._dispatch_tls_local_include_set()
        with torch._C._ForceDispatchKeyGuard(include, exclude):
            return definition(*args)

    return run


def _alone(tensor: Tensor) -> Tensor:
    """The same values as a variable of its own, whatever `tensor` and the others came from."""
    with torch.enable_grad():
        return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def _gradients(outputs: Any, inputs: Any, above: Any, *, keep: bool) -> tuple[Tensor, ...]:
    result: tuple[Tensor, ...] = torch.autograd.grad(
        outputs, inputs, above, create_graph=keep, materialize_grads=True
    )
    return result


def deterministic() -> bool:
    """Whether torch asks for the same bits every time: which CUDA kernel a backward runs."""
    return torch.are_deterministic_algorithms_enabled()


def _register_autocast(
    name: str, op: Any, device: str, rule: Callable[..., tuple[Any, ...]] | None
) -> None:
    """The rule of one op for one device; below it autocast is off there."""
    key = _AUTOCAST[device]

    def kernel(*args: Any) -> Any:
        if rule is not None:
            args = rule(torch.get_autocast_dtype(device), *args)
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            return op(*args)

    op.py_impl(key)(kernel)  # for export, which asks Python first
    LIBRARY.impl(name, kernel, key.name)


def _needs_grad(arg: Any) -> bool:
    if isinstance(arg, Tensor):
        return arg.requires_grad
    return isinstance(arg, (list, tuple)) and any(_needs_grad(each) for each in arg)


def _vmap_loop(op: Any) -> Callable[..., Any]:
    """A vmap rule that calls the op once per slice and stacks the results."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        results = [
            op(*(_slice(arg, dim, i) for arg, dim in zip(args, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        stacked = tuple(torch.stack(each) for each in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    return rule


def _slice(arg: Any, dim: Any, index: int) -> Any:
    if isinstance(arg, (list, tuple)) and isinstance(dim, (list, tuple)):
        return [_slice(each, d, index) for each, d in zip(arg, dim, strict=True)]
    return arg if dim is None else arg.select(dim, index)
