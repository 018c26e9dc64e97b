"""What the tests count in networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def parameters(module: nn.Module) -> int:
    """Trainable numbers: batch norm's scale and shift, not its statistics."""
    return sum(p.numel() for p in module.parameters())


def rates(module: nn.Module) -> list[int]:
    """Dilations of the depthwise convolutions, in order."""
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return [m.dilation[0] for m in convs if m.groups > 1]


def multiply_adds(module: nn.Module, call: Callable[[], object]) -> int:
    """Of the convolutions and linear layers of `module` in one call (meta tensors do)."""
    counted = [0]

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        places = output[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        counted[0] += places * layer.weight.numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    call()
    for hook in hooks:
        hook.remove()
    return counted[0]
