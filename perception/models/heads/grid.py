"""What FastBox and MultiNet's FastBox share: one box per cell, and which cell answers for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from perception.models.heads.boxes import BoxHead
from perception.models.heads.cells import assign

if TYPE_CHECKING:
    from perception.data.batch import Batch


class CellsOutput(NamedTuple):
    """M = rows * columns boxes per image, in pixels of the network's input, xyxy, float32."""

    coarse: Tensor  # (N, M, 4) the cells' own guesses
    coarse_logits: Tensor  # (N, M, K), or (N, M, 1 + K) with background first
    xyxy: Tensor  # (N, M, 4) refined by rezoom; the coarse ones without it
    logits: Tensor  # like coarse_logits
    centers: Tensor  # (M, 2) of the cells
    size: Tensor  # (2,) height, width of the images


class CellTargets(NamedTuple):
    """What the cells of a batch are to answer."""

    xyxy: Tensor  # (N, M, 4); anything where not positive
    label: Tensor  # (N, M) int64 class; anything where not positive
    positive: Tensor  # (N, M) bool
    ignore: Tensor  # (N, M) bool


class GridHead(BoxHead):
    """Base of the heads that answer one box per cell."""

    cell: int
    focus: float

    def targets(self, batch: Batch, centers: Tensor) -> CellTargets:
        """The assignment of every image of the batch; (M, 2) centres as in the output."""
        columns: list[tuple[Tensor, ...]] = []
        for image in batch.boxes_of(self.task):
            xyxy = image.xyxy.to(centers.device, torch.float32)
            chosen = assign(centers, self.cell, xyxy, image.ignore, focus=self.focus)
            if len(xyxy):
                own = xyxy[chosen.box], image.label[chosen.box].long()
            else:
                own = centers.new_zeros(len(centers), 4), torch.zeros_like(chosen.box)
            columns.append((*own, chosen.positive, chosen.ignore))
        return CellTargets(*(torch.stack(column) for column in zip(*columns, strict=True)))
