"""Road or not, per pixel: FCN-8s as in KittiSeg, with a choice of upsampling.

Long et al., Fully Convolutional Networks, CVPR 2015; Teichmann et al., MultiNet, 2018. Scores (or
`width` features) of the coarsest map are upsampled and added to those of each finer skip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.encoders.base import initialise
from perception.models.heads.base import Head, choose
from perception.models.heads.dense import (
    DenseOutput,
    Weights,
    checked_masks,
    checked_terms,
    class_weights,
    dense_loss,
)
from perception.models.initialisation import truncated_he_
from perception.models.layers import Size, conv_bn, resize
from perception.models.losses import ReduceCount, identity, probabilities
from perception.models.upsampling import upsample

if TYPE_CHECKING:
    from perception.data.batch import Batch

CLASSES = ("background", "road")


class RoadFCN(Head):
    """The probability of road for every pixel.

    Args:
        channels, strides: of the encoder's features, by name.
        deep: the coarsest feature that is read.
        skips: finer features, from coarse to fine; `[s16, s8]` is FCN-8s.
        width: features that are joined; 0 joins scores, as FCN-8s does.
        upsampling: `resize_conv`, `pixelshuffle` or `deconv`.
        skip_scale: variance of each skip's first weights, relative to the one before it.
        masks: `softmax` over background and road, or `sigmoid` for road alone.
        losses: factors of `cross_entropy`, `focal`, `dice`, `lovasz`.
        class_weights: [background, road], or None.
        lovasz_step: computes the Lovász term on every n-th row and column.
    """

    task = "road"

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        *,
        deep: str = "s32",
        skips: Sequence[str] = ("s16", "s8"),
        width: int = 0,
        upsampling: str = "resize_conv",
        skip_scale: float = 1.0,
        masks: str = "softmax",
        losses: Mapping[str, float] | None = None,
        class_weights: Weights = None,
        lovasz_step: int = 1,
    ) -> None:
        super().__init__()
        self.masks = checked_masks(masks, "head.road")
        self.terms = checked_terms(losses or {"cross_entropy": 1.0}, "head.road")
        self.lovasz_step = lovasz_step
        self._set_class_weights(class_weights)
        self.decoder = FCNDecoder(
            channels, strides, (deep, *skips), classes=2 if masks == "softmax" else 1,
            width=width, upsampling=upsampling, skip_scale=skip_scale, setting="head.road",
        )  # fmt: skip

    def forward(self, features: dict[str, Tensor], size: Size) -> DenseOutput:
        """Logits of every pixel."""
        return DenseOutput(self.decoder(features, size))

    def loss(
        self, output: DenseOutput, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """The chosen terms over the pixels that are known to be road or not."""
        assert batch.road is not None
        return dense_loss(
            output.logits, batch.road, self.terms, masks=self.masks, weight=self.class_weights,
            reduce_count=reduce_count, lovasz_step=self.lovasz_step,
        )  # fmt: skip

    @torch.no_grad()
    def decode(self, output: DenseOutput, index: int = 0) -> NDArray[np.float32]:
        """(H, W) probability of road."""
        logits = output.logits[index : index + 1].float()
        return probabilities(logits, self.masks)[0, -1].cpu().numpy()

    def _set_class_weights(self, weights: Weights) -> None:
        self.class_weights: Tensor | None
        table = class_weights(weights, CLASSES, "head.road")
        if table is not None and self.masks == "sigmoid":
            raise PerceptionError("head.road.class_weights", found="weights with sigmoid masks",
                                  expected="softmax masks, or null",
                                  do="Set masks to softmax, or remove the weights.")  # fmt: skip
        self.register_buffer("class_weights", table, persistent=False)


class FCNDecoder(nn.Module):
    """Adds up features from coarse to fine and scores every pixel.

    Args:
        channels, strides: of the encoder's features, by name.
        names: the features to read, from coarse to fine.
        classes: scores per pixel.
        width, upsampling, skip_scale: see `RoadFCN`.
        setting: where the settings stand, for messages.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        names: Sequence[str],
        *,
        classes: int,
        width: int = 0,
        upsampling: str = "resize_conv",
        skip_scale: float = 1.0,
        setting: str = "head",
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        inner = width or classes
        sizes = [choose(channels, name, f"{setting}.skips") for name in names]
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(size, inner, 1, bias=False), nn.BatchNorm2d(inner)) if width
            else nn.Conv2d(size, inner, 1)
            for size in sizes
        )  # fmt: skip
        real = [strides[name] for name in names]
        self.steps = nn.ModuleList(
            upsample(upsampling, inner, coarse // fine, setting) if coarse > fine
            else nn.Module()
            for coarse, fine in pairwise(real)
        )  # fmt: skip
        if width:
            self.score: nn.Module = nn.Sequential(
                conv_bn(width, width, 3), nn.Conv2d(width, classes, 1)
            )
        else:
            self.score = nn.Identity()
        self.joined = bool(width)
        # a plain resize is the checkerboard-free last step; a 3x3 at full size would only blur it
        self.last = (
            None
            if upsampling == "resize_conv"
            else upsample(upsampling, classes, real[-1], setting)
        )
        self._initialise(skip_scale)

    def forward(self, features: dict[str, Tensor], size: Size) -> Tensor:
        """Features by name -> (N, classes, *size) logits, float32."""
        x = self.laterals[0](features[self.names[0]])
        for name, lateral, step in zip(self.names[1:], self.laterals[1:], self.steps, strict=True):
            skip = lateral(features[name])
            x = F.relu(x) if self.joined else x
            same = x.shape[2:] == skip.shape[2:]
            x = skip + (x if same else step(x, (skip.shape[2], skip.shape[3])))
        x = self.score(F.relu(x) if self.joined else x)
        return resize(x.float(), size) if self.last is None else self.last(x, size).float()

    def _initialise(self, skip_scale: float) -> None:
        self.score.apply(initialise)
        factor = 2.0
        for lateral in self.laterals:
            conv = lateral[0] if isinstance(lateral, nn.Sequential) else lateral
            assert isinstance(conv, nn.Conv2d)
            truncated_he_(conv.weight, factor=factor)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            factor *= skip_scale
