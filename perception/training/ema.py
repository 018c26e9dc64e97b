"""Exponential moving average of the weights: what is evaluated and exported when it is on."""

from __future__ import annotations

import copy

import torch
from torch import nn

from perception.models.multitask import MultiTask


class EMA:
    """A second copy of a model that follows it slowly.

    average = d * average + (1 - d) * weights, d = min(decay, (1 + step) / (10 + step)), so that the
    first steps are forgotten soon. Whole-number buffers are copied.
    """

    def __init__(self, model: MultiTask, decay: float = 0.999) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model)
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards `model` after optimiser step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = self.model.state_dict(), model.state_dict()
        floating = [name for name in ours if ours[name].is_floating_point()]
        torch._foreach_lerp_([ours[n] for n in floating], [theirs[n] for n in floating], 1 - decay)
        for name in ours.keys() - set(floating):
            ours[name].copy_(theirs[name])
