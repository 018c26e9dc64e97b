"""FastBox as MultiNet's released code has it: one linear box per 32-pixel cell, then rezoom.

Teichmann et al., MultiNet, 2018, section III-C, and KittiBox (decoder/fastBox.py,
utils/data_utils.py). Everything is in pixels, nothing has a bias, and weights start uniform in
(-0.1, 0.1). Where the code differs from the paper in assigning cells (it examines only the first
box of the file) this follows the paper: the nearest centre wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.models.heads.base import choose
from perception.models.heads.boxes import checked_suppression
from perception.models.heads.cells import (
    cell_centers,
    check_cell,
    size_tensor,
    to_center,
    to_grid,
    with_image,
)
from perception.models.heads.grid import CellsOutput, CellTargets, GridHead
from perception.models.layers import Size
from perception.models.losses import ReduceCount, identity, mean
from perception.ops import rezoom

if TYPE_CHECKING:
    from perception.data.batch import Batch

CELL = 32
CENTER_TOLERANCE = 0.2  # of the box: how near a coarse centre must be to count as found
DELTA_LIMIT = 100.0  # squared pixels


class MultiNetFastBox(GridHead):
    """The original decoder; 618,680 weights on VGG16 with one class.

    Args:
        channels, strides: of the encoder's features, by name.
        classes: names of the classes, in the order of the targets' labels.
        deep, fine: the features for the cells and for rezoom (stride 8).
        fine_channels: rezoom samples the first ones of `fine`.
        hidden, refine_hidden: widths of the two layers.
        dropout: rate in the three places where the original drops 0.5.
        focus: a cell answers for boxes whose centre is less than this many cells away.
        half_pixel: samples at pixel / 8 - 0.5, where features lie; the original does not.
        suppression: `nms`, `soft_nms` (gaussian) or `box_voting` (NMS, then means of overlaps).
        min_score, nms_iou, max_boxes: what `decode` keeps; the original stitches boxes at 0.35.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        *,
        task: str = "boxes",
        classes: Sequence[str],
        deep: str = "s32",
        fine: str = "conv4_3",
        fine_channels: int = 256,
        hidden: int = 500,
        refine_hidden: int = 128,
        dropout: float = 0.5,
        focus: float = 1.8,
        half_pixel: bool = False,
        min_score: float = 0.001,
        nms_iou: float = 0.35,
        suppression: str = "nms",
        max_boxes: int = 468,
    ) -> None:
        super().__init__(task)
        self.classes, self.cell, self.focus = tuple(classes), CELL, focus
        self.deep, self.fine, self.fine_channels = deep, fine, fine_channels
        read = choose(channels, deep, f"{self.setting}.deep")
        sampled = 9 * min(fine_channels, choose(channels, fine, f"{self.setting}.fine"))
        self.deep_stride, self.fine_stride = strides[deep], strides[fine]
        check_cell(CELL, {deep: self.deep_stride}, self.setting)
        self.shift = self.fine_stride / 2 if half_pixel else 0.0
        self.min_score, self.nms_iou, self.max_boxes = min_score, nms_iou, max_boxes
        self.suppression = checked_suppression(suppression, self.setting)
        answers = 1 + len(self.classes)
        self.hidden = nn.Linear(read, hidden, bias=False)
        self.box = nn.Linear(hidden, 4, bias=False)
        self.confidence = nn.Linear(hidden, answers, bias=False)
        self.again = nn.Linear(hidden + sampled, refine_hidden, bias=False)
        self.delta_box = nn.Linear(refine_hidden, 4, bias=False)
        self.delta_confidence = nn.Linear(refine_hidden, answers, bias=False)
        self.dropout = nn.Dropout(dropout)
        for weight in self.parameters():
            nn.init.uniform_(weight, -0.1, 0.1)

    def forward(self, features: dict[str, Tensor], size: Size) -> CellsOutput:
        """One coarse and one refined box per cell; logits of background and the classes."""
        grid = to_grid(features[self.deep], self.deep_stride, size, CELL)
        hidden = self.dropout(self.hidden(grid.flatten(2).transpose(1, 2) * 0.1)).float()
        centers = cell_centers(size, CELL, hidden.device)
        coarse = 50 * self.box(hidden).float()
        box = torch.cat([centers + coarse[..., :2], coarse[..., 2:]], -1)  # cx, cy, w, h
        seen = self.dropout(self._look(features[self.fine], box)) / 1000
        again = self.dropout(F.relu(self.again(torch.cat([hidden, seen], -1))))
        refined = box + 5 * self.delta_box(again).float()
        return CellsOutput(
            _corners(box),
            self.confidence(hidden).float(),
            _corners(refined),
            50 * self.delta_confidence(again).float(),
            centers,
            size_tensor(size, centers),
        )

    def loss(
        self, output: CellsOutput, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """The original's four terms: sums over cells, divided by the number of cells."""
        target = self.targets(batch, output.centers)
        cells = torch.tensor(float(target.positive.numel()), device=output.centers.device)
        coarse, refined = to_center(output.coarse), to_center(output.xyxy)
        truth = to_center(target.xyxy)
        found = target.positive & _near(coarse.detach(), truth)
        apart = (truth - coarse).abs().sum(-1) * target.positive
        left = (truth - refined).square().clamp_max(DELTA_LIMIT).sum(-1) * target.positive
        terms = {
            "confidence": self._class_loss(output.coarse_logits, target, target.positive),
            "box": 0.1 * apart.sum(),
            "refined_confidence": 0.1 * self._class_loss(output.logits, target, found),
            "refined_box": 0.1 * 0.03 * left.sum(),
        }
        return {name: mean(total, cells, reduce_count) for name, total in terms.items()}

    def scores(self, logits: Tensor) -> Tensor:
        """(M, 1 + K) logits -> (M, K) softmax scores without background."""
        return logits.softmax(-1)[..., 1:]

    def _look(self, features: Tensor, box: Tensor) -> Tensor:
        """(N, M, 9 * channels) fine features at nine points of each box; differentiable in both."""
        rois = with_image(torch.cat([box[..., :2] - self.shift, box[..., 2:]], 2))
        fine = features[:, : self.fine_channels].float()
        seen = rezoom(fine, rois, spatial_scale=1 / self.fine_stride)
        return seen.view(box.shape[0], box.shape[1], -1)

    def _class_loss(self, logits: Tensor, target: CellTargets, found: Tensor) -> Tensor:
        """Cross-entropy summed over the cells that are not ignored; `found` (N, M) have a class."""
        answer = torch.where(found, target.label + 1, 0)
        loss = F.cross_entropy(logits.transpose(1, 2), answer, reduction="none")
        return (loss * ~target.ignore).sum()


def _corners(box: Tensor) -> Tensor:
    """(..., 4) cx, cy, w, h -> x1, y1, x2, y2."""
    half = box[..., 2:] / 2
    return torch.cat([box[..., :2] - half, box[..., :2] + half], -1)


def _near(coarse: Tensor, truth: Tensor) -> Tensor:
    """(N, M) whether the coarse centre lies within a fifth of the true size of the true centre."""
    away = (truth[..., :2] - coarse[..., :2]) / truth[..., 2:].clamp_min(1)
    return away.square().sum(-1) < CENTER_TOLERANCE**2
