"""What the tests count in networks."""

from __future__ import annotations

from torch import nn


def parameters(module: nn.Module) -> int:
    """Trainable numbers: batch norm's scale and shift, not its statistics."""
    return sum(p.numel() for p in module.parameters())


def rates(module: nn.Module) -> list[int]:
    """Dilations of the depthwise convolutions, in order."""
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return [m.dilation[0] for m in convs if m.groups > 1]
