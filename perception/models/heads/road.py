"""Road or not, per pixel: FCN-8s as in KittiSeg, with a choice of upsampling.

Long et al., Fully Convolutional Networks, CVPR 2015; Teichmann et al., MultiNet, 2018. Scores (or
`width` features) of the coarsest map are upsampled and added to those of each finer skip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perception.errors import PerceptionError
from perception.models.heads.base import Head
from perception.models.heads.dense import (
    DenseOutput,
    Weights,
    checked_masks,
    checked_terms,
    class_weights,
    dense_loss,
)
from perception.models.heads.fcn_decoder import CaffeFCNDecoder, FCNDecoder
from perception.models.layers import Size
from perception.models.losses import ReduceCount, identity, probabilities
from perception.tasks import Kind

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
        initialisation: of the 1x1 convolutions: `he`, `truncated_he` or `xavier`.
        skip_scale: variance of each skip's first weights, relative to the one before it.
        masks: `softmax` over background and road, or `sigmoid` for road alone.
        losses: factors of `cross_entropy`, `focal`, `dice`, `lovasz`.
        class_weights: [background, road], or None.
        lovasz_step: computes the Lovász term on every n-th row and column.
        crops: offsets at which the skips and the last map are cut, as in the FCN authors' Caffe
            models: [5, 9, 31] with 100 pixels of padding around the image; else nothing is padded.
    """

    kind = Kind.MASK

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        *,
        task: str = "road",
        deep: str = "s32",
        skips: Sequence[str] = ("s16", "s8"),
        width: int = 0,
        upsampling: str = "resize_conv",
        initialisation: str = "truncated_he",
        skip_scale: float = 1.0,
        masks: str = "softmax",
        losses: Mapping[str, float] | None = None,
        class_weights: Weights = None,
        lovasz_step: int = 1,
        crops: Sequence[int] | None = None,
    ) -> None:
        super().__init__(task)
        self.masks = checked_masks(masks, self.setting)
        self.terms = checked_terms(losses or {"cross_entropy": 1.0}, self.setting)
        self.lovasz_step = lovasz_step
        self._set_class_weights(class_weights)
        names, count = (deep, *skips), 2 if masks == "softmax" else 1
        if crops is None:
            self.decoder = FCNDecoder(
                channels,
                strides,
                names,
                classes=count,
                width=width,
                upsampling=upsampling,
                initialisation=initialisation,
                skip_scale=skip_scale,
                setting=self.setting,
            )
        else:
            self._check_crops(crops, names, width, upsampling)
            self.decoder = CaffeFCNDecoder(
                channels,
                strides,
                names,
                classes=count,
                crops=crops,
                initialisation=initialisation,
                skip_scale=skip_scale,
                setting=self.setting,
            )

    def forward(self, features: dict[str, Tensor], size: Size) -> DenseOutput:
        """Logits of every pixel."""
        return DenseOutput(self.decoder(features, size))

    def loss(
        self, output: DenseOutput, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """The chosen terms over the pixels that are known to be road or not."""
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
    def decode(self, output: DenseOutput, index: int = 0) -> NDArray[np.float32]:
        """(H, W) probability of road."""
        one = output.logits[index : index + 1]
        answer = self.answer(DenseOutput(one), (one.shape[2], one.shape[3]))
        return answer["probability"][0].cpu().numpy()

    def answer(self, output: DenseOutput, size: Size) -> dict[str, Tensor]:
        """`probability` (N, H, W) of road."""
        logits = output.logits[:, :, : size[0], : size[1]].float()
        return {"probability": probabilities(logits, self.masks)[:, -1]}

    def _set_class_weights(self, weights: Weights) -> None:
        self.class_weights: Tensor | None
        table = class_weights(weights, CLASSES, self.setting)
        if table is not None and self.masks == "sigmoid":
            raise PerceptionError(
                f"{self.setting}.class_weights",
                "weights with sigmoid masks",
                "softmax masks, or null",
                "Set masks to softmax, or remove the weights.",
            )
        self.register_buffer("class_weights", table, persistent=False)

    def _check_crops(
        self, crops: Sequence[int], names: Sequence[str], width: int, upsampling: str
    ) -> None:
        if width or upsampling != "deconv" or len(crops) != len(names):
            raise PerceptionError(
                f"{self.setting}.crops",
                f"{len(crops)} offsets with upsampling {upsampling} and width {width}",
                f"{len(names)} offsets with upsampling deconv and width 0",
                "Give one offset per skip and one for the image.",
            )
