"""Parameter groups, optimisers and learning-rate schedules.

The learning rate is a pure function of the step, so a resumed run needs no schedule state; the
plateau schedule, which looks at losses, is the one exception and keeps its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from perception.ops import DeformConv2d

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)


# ---------------------------------------------------------------------------- parameter groups


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    encoder_lr_factor: float = 1.0,
    offset_lr_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Every trainable parameter in exactly one group.

    Parameters below a module named `encoder` get `lr * encoder_lr_factor`; those of a convolution
    with `offset` in its name (the one that says where a deformable convolution looks) their rate
    times `offset_lr_factor` (Dai et al., Deformable ConvNets, 2017). Norm parameters, biases
    and depthwise kernels get no weight decay (Howard et al., MobileNets, 2017, section 3.2), nor do
    parameters outside any layer (the scalars of a loss balance).
    """
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for module_name, module in model.named_modules():
        in_encoder = "encoder" in module_name.split(".")
        # without a factor no group of their own: older runs go on with the groups they had
        offsets = offset_lr_factor != 1.0 and _says_offsets(module_name, module)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                key = (in_encoder, _decays(module, name), offsets)
                groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr
            * (encoder_lr_factor if in_encoder else 1.0)
            * (offset_lr_factor if offsets else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
            "name": f"{'encoder' if in_encoder else 'heads'}{', offsets' if offsets else ''}"
            f"{'' if decays else ', no decay'}",
        }
        for (in_encoder, decays, offsets), parameters in sorted(groups.items(), reverse=True)
    ]


def _says_offsets(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and "offset" in name.rpartition(".")[2].lower()


def _decays(module: nn.Module, name: str) -> bool:
    """Whether weight decay acts on this parameter."""
    if name != "weight" or isinstance(module, NORMS):
        return False
    depthwise = (
        isinstance(module, (nn.Conv2d, DeformConv2d))
        and module.groups > 1
        and module.groups == module.in_channels
    )
    return isinstance(module, (nn.modules.conv._ConvNd, nn.Linear, DeformConv2d)) and not depthwise


# ---------------------------------------------------------------------------- schedules


class Schedule(Protocol):
    """The factor on every group's learning rate."""

    def factor(self, step: int, steps: int) -> float:
        """Factor at `step` (0-based) of `steps`."""
        ...


def _warm(step: int, warmup: int) -> float:
    """Linear warm-up from 1 / warmup to 1."""
    return min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0


@dataclass(frozen=True)
class Constant:
    """The same rate after the warm-up."""

    warmup: int = 0

    def factor(self, step: int, steps: int) -> float:  # noqa: ARG002
        """Factor at `step`."""
        return _warm(step, self.warmup)


@dataclass(frozen=True)
class Poly:
    """(1 - step / steps) ** power after the warm-up (DeepLab)."""

    power: float = 0.9
    warmup: int = 0
    end: float = 0.0  # factor that is never undercut

    def factor(self, step: int, steps: int) -> float:
        """Factor at `step` of `steps`."""
        decay = (1.0 - min(step, steps) / max(steps, 1)) ** self.power
        result: float = _warm(step, self.warmup) * max(decay, self.end)
        return result


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `end` after the warm-up (Loshchilov and Hutter, SGDR, 2017)."""

    warmup: int = 0
    end: float = 0.0

    def factor(self, step: int, steps: int) -> float:
        """Factor at `step` of `steps`."""
        if step < self.warmup:
            return _warm(step, self.warmup)
        share = min(1.0, (step - self.warmup) / max(steps - self.warmup, 1))
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass
class Plateau:
    """Multiplies the rate by `decay` when the smoothed loss has not improved for `patience` steps.

    The loss is smoothed exponentially; an improvement is a fall below the best by more than the
    share `threshold`. Source: Kim et al., PVANet, 2016, section 4 (decay 1/sqrt(10)).
    """

    decay: float = 0.3162277660168379
    patience: int = 1000
    threshold: float = 0.01
    smoothing: float = 0.99
    minimum: float = 1e-3
    warmup: int = 0
    state: dict[str, float] = field(default_factory=dict)

    def factor(self, step: int, steps: int) -> float:  # noqa: ARG002
        """Factor at `step`, after what `observe` has seen."""
        return _warm(step, self.warmup) * self.state.get("factor", 1.0)

    def observe(self, loss: float) -> None:
        """Takes note of the loss of one step."""
        state = self.state
        old = state.get("smoothed", loss)
        state["smoothed"] = self.smoothing * old + (1 - self.smoothing) * loss
        if state["smoothed"] < state.get("best", math.inf) * (1 - self.threshold):
            state["best"], state["waited"] = state["smoothed"], 0.0
            return
        state["waited"] = state.get("waited", 0.0) + 1
        if state["waited"] >= self.patience:
            state["factor"] = max(self.minimum, state.get("factor", 1.0) * self.decay)
            state["waited"] = 0.0

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Puts back what a checkpoint kept."""
        self.state = dict(state)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group to its first learning rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
