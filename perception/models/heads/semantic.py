"""The class of every pixel: DeepLabV3+ lite, and the plain DeepLabV3 without decoder.

Chen et al., Rethinking Atrous Convolution (2017) and Encoder-Decoder with Atrous Separable
Convolution (ECCV 2018). The stride-4 skip is the encoder's block output (24 channels in
MobileNetV2), resizing uses half-pixel centres, and image pooling is global.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
from perception.models.layers import ImagePooling, Size, conv_bn, resize, separable_conv
from perception.models.losses import ReduceCount, identity, probabilities
from perception.tasks import Kind

if TYPE_CHECKING:
    from perception.data.batch import Batch


class SemanticResult(NamedTuple):
    """One decoded image."""

    ids: NDArray[np.uint8]  # (H, W) train ids
    score: NDArray[np.float32]  # (H, W) probability of that class


class DeepLab(Head):
    """Atrous spatial pyramid pooling, then one refinement per skip, then the classes.

    Args:
        channels, strides: of the encoder's features, by name.
        classes: names of the classes, in order of train id.
        deep: the feature that the pyramid reads.
        width: channels of the pyramid and the decoder.
        rates: dilations of the 3x3 branches; none leaves the 1x1 branch and image pooling.
        separable: depthwise-separable 3x3 convolutions.
        image_pooling: adds the branch that sees the whole image.
        skips: finer features and the channels each is reduced to, from coarse to fine; none: no
            decoder (DeepLabV3).
        dropout: after the pyramid.
        masks: `softmax`, or `sigmoid` for one independent mask per class.
        losses: factors of `cross_entropy`, `focal`, `dice`, `lovasz`.
        class_weights: a list in class order, a table by name, or None.
        lovasz_step: computes the Lovász term on every n-th row and column.
        upsampling: `bilinear` or `bicubic`, from the last map to the image.
    """

    kind = Kind.CLASSES

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],  # noqa: ARG002, part of every head's constructor
        *,
        task: str = "semantic",
        classes: Sequence[str],
        deep: str = "s32",
        width: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        separable: bool = True,
        image_pooling: bool = True,
        skips: Mapping[str, int] | None = None,
        dropout: float = 0.1,
        masks: str = "softmax",
        losses: Mapping[str, float] | None = None,
        class_weights: Weights = None,
        lovasz_step: int = 1,
        upsampling: str = "bilinear",
    ) -> None:
        super().__init__(task)
        self.classes = tuple(classes)
        self.masks = checked_masks(masks, self.setting)
        self.terms = checked_terms(losses or {"cross_entropy": 1.0}, self.setting)
        self.lovasz_step, self.upsampling, self.deep = lovasz_step, upsampling, deep
        self._set_class_weights(class_weights)
        self.pyramid = Pyramid(
            choose(channels, deep, f"{self.setting}.deep"),
            width,
            rates,
            separable=separable,
            image_pooling=image_pooling,
        )
        self.skips = tuple(skips or {})
        self.refinements = nn.ModuleList(
            Refinement(
                width,
                choose(channels, name, f"{self.setting}.skips"),
                reduced,
                width,
                separable=separable,
            )
            for name, reduced in (skips or {}).items()
        )
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Conv2d(width, len(self.classes), 1)
        self.apply(initialise)
        nn.init.trunc_normal_(self.logits.weight, std=0.01, a=-0.02, b=0.02)

    def forward(self, features: dict[str, Tensor], size: Size) -> DenseOutput:
        """Logits of every pixel."""
        x = self.dropout(self.pyramid(features[self.deep]))
        for name, refine in zip(self.skips, self.refinements, strict=True):
            x = refine(x, features[name])
        logits = self.logits(x)
        return DenseOutput(resize(logits.float(), size, self.upsampling))

    def loss(
        self, output: DenseOutput, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """The chosen terms over the pixels that are not ignored."""
        return dense_loss(
            output.logits,
            batch.dense(self.task),
            self.terms,
            masks=self.masks,
            weight=self.class_weights,
            reduce_count=reduce_count,
            lovasz_step=self.lovasz_step,
        )

    @torch.no_grad()
    def decode(self, output: DenseOutput, index: int = 0) -> SemanticResult:
        """Train ids and their probabilities."""
        one = output.logits[index : index + 1]
        answer = self.answer(DenseOutput(one), (one.shape[2], one.shape[3]))
        return SemanticResult(answer["ids"][0].cpu().numpy(), answer["score"][0].cpu().numpy())

    def answer(self, output: DenseOutput, size: Size) -> dict[str, Tensor]:
        """`ids` (N, H, W) uint8 train ids, `score` (N, H, W) their probabilities."""
        logits = output.logits[:, :, : size[0], : size[1]].float()
        score, ids = probabilities(logits, self.masks).max(1)
        return {"ids": ids.to(torch.uint8), "score": score}

    def _set_class_weights(self, weights: Weights) -> None:
        self.class_weights: Tensor | None
        table = class_weights(weights, self.classes, self.setting)
        self.register_buffer("class_weights", table, persistent=False)


class Pyramid(nn.Module):
    """Parallel branches that see 1 pixel, dilated 3x3 windows and the whole map, then 1x1."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        rates: Sequence[int],
        *,
        separable: bool,
        image_pooling: bool,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_bn(in_channels, width, 1)])
        for rate in rates:
            self.branches.append(
                separable_conv(in_channels, width, dilation=rate)
                if separable
                else conv_bn(in_channels, width, 3, dilation=rate)
            )
        if image_pooling:
            self.branches.append(ImagePooling(in_channels, width))
        self.project = conv_bn(width * len(self.branches), width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, width, H, W)."""
        result: Tensor = self.project(torch.cat([branch(features) for branch in self.branches], 1))
        return result


class Refinement(nn.Module):
    """Joins coarse features with a finer skip: resize, concatenate, two 3x3 convolutions."""

    def __init__(
        self, in_channels: int, skip_channels: int, reduced: int, width: int, *, separable: bool
    ) -> None:
        super().__init__()
        self.reduce = conv_bn(skip_channels, reduced, 1)
        sizes = (in_channels + reduced, width), (width, width)
        self.fuse = nn.Sequential(
            *(separable_conv(*size) if separable else conv_bn(*size, 3) for size in sizes)
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(N, in, h, w), (N, skip, H, W) -> (N, width, H, W)."""
        skip = self.reduce(skip)
        size = (skip.shape[2], skip.shape[3])
        result: Tensor = self.fuse(torch.cat([resize(coarse, size), skip], 1))
        return result
