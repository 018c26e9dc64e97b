"""How an op gets into torch: its schema, its definition, its shape rule, its gradient.

`define` gives `torch.ops.perception.<name>`. The definition (plain PyTorch) serves every device
that has no compiled kernel; the native library, when it is there, registers the CPU and CUDA
kernels of the same schemas from C++. So compiled, exported and traced graphs hold the same op
either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

LIBRARY = torch.library.Library("perception", "DEF")


def define(
    schema: str,
    *,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Any:
    """Defines one op and returns it (an `OpOverload`).

    Args:
        schema: e.g. "nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor".
        reference: the definition; takes the schema's arguments.
        fake: the result without values (shape, dtype, layout), for tracing.
        setup: `setup(ctx, inputs, output)`, saves what `backward` needs; None: no gradient.
        backward: `backward(ctx, *grads)`, one gradient (or None) per argument.
    """
    name = "perception::" + schema[: schema.index("(")]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(name, fake, lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(name, backward, setup_context=setup, lib=LIBRARY)
    op = getattr(torch.ops.perception, name.removeprefix("perception::")).default
    torch.library.register_vmap(name, _vmap_loop(op), lib=LIBRARY)
    return op


def call(op: Any, *args: Any) -> Any:
    """Calls an op; without a gradient to record, passes over its autograd layer.

    That layer is written in Python and costs more than the kernel for ten boxes.
    """
    if torch.compiler.is_compiling():
        return op(*args)
    if torch.is_grad_enabled() and any(_needs_grad(arg) for arg in args):
        return op(*args)
    if forward_ad._current_level >= 0:  # not supported: the autograd layer says so
        return op(*args)
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


def deterministic() -> bool:
    """Whether torch asks for the same bits every time: which CUDA kernel a backward runs."""
    return torch.are_deterministic_algorithms_enabled()


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
