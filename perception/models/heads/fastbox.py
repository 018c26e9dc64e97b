"""Boxes: FastBox, one box per cell, corrected by looking again where the box lies (rezoom).

Teichmann et al., MultiNet, 2018, section III-C, with what makes it learn quickly: encodings
relative to cell and box, focal loss from a low prior, GIoU, and a second score that predicts the
overlap.
`multinet_fastbox.py` has the original's exact recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.encoders.base import initialise
from perception.models.heads.base import choose
from perception.models.heads.boxes import checked_suppression
from perception.models.heads.cells import (
    cell_centers,
    check_cell,
    decode,
    encode,
    paired_iou,
    size_tensor,
    to_center,
    to_grid,
    with_image,
)
from perception.models.heads.grid import CellsOutput, CellTargets, GridHead
from perception.models.layers import Size, conv_bn
from perception.models.losses import ReduceCount, generalized_iou_loss, identity, mean, smooth_l1
from perception.ops import rezoom

if TYPE_CHECKING:
    from perception.data.batch import Batch

TERMS = ("confidence", "box", "refined_confidence", "refined_box")
PRIOR = 0.01  # score of every cell before training: positives are rare


class FastBox(GridHead):
    """One box per cell from coarse features, refined from fine ones.

    Args:
        channels, strides: of the encoder's features, by name.
        classes: names of the classes, in the order of the targets' labels.
        cell: side of a cell in pixels; a cell answers for one box. 32 is MultiNet's; frames with
            small objects want 16 or 8.
        features: what the cells read, pooled or resized to the grid and concatenated.
        hidden: channels of the cells.
        refine: whether boxes are refined by rezoom.
        fine: the feature that rezoom samples, reduced to `fine_channels`.
        points: the samples' offsets along each axis, in box sizes from the centre.
        refine_hidden: width of the refining layer.
        focus: a cell answers for boxes whose centre is less than this many cells away.
        losses: factors of the four terms `confidence`, `box`, `refined_confidence`, `refined_box`.
        suppression: `nms`, `soft_nms` (gaussian) or `box_voting` (NMS, then means of overlaps).
        min_score, nms_iou, max_boxes: what `decode` keeps.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        *,
        task: str = "boxes",
        classes: Sequence[str],
        cell: int = 32,
        features: Sequence[str] = ("s16", "s32"),
        hidden: int = 128,
        refine: bool = True,
        fine: str = "s4",
        fine_channels: int = 32,
        points: Sequence[float] = (-0.5, -0.25, 0.0, 0.25, 0.5),
        refine_hidden: int = 128,
        focus: float = 1.5,
        losses: Mapping[str, float] | None = None,
        min_score: float = 0.05,
        nms_iou: float = 0.5,
        suppression: str = "nms",
        max_boxes: int = 100,
    ) -> None:
        super().__init__(task)
        self.classes, self.cell, self.focus = tuple(classes), cell, focus
        self.features, self.fine, self.refine = tuple(features), fine, refine
        self.strides = dict(strides)
        self.points = tuple(float(p) for p in points)
        self.factors = _checked_factors(losses or {}, self.setting)
        self.min_score, self.nms_iou, self.max_boxes = min_score, nms_iou, max_boxes
        self.suppression = checked_suppression(suppression, self.setting)
        outputs = 4 + len(self.classes)
        read = sum(choose(channels, name, f"{self.setting}.features") for name in features)
        check_cell(cell, {name: strides[name] for name in features}, self.setting)
        self.hidden = nn.Sequential(conv_bn(read, hidden, 1), conv_bn(hidden, hidden, 3))
        self.guess = nn.Conv2d(hidden, outputs, 1)
        if refine:
            reduced = choose(channels, fine, f"{self.setting}.fine")
            self.reduce = conv_bn(reduced, fine_channels, 1)
            self.again = nn.Sequential(
                nn.Linear(hidden + fine_channels * len(self.points) ** 2, refine_hidden),
                nn.ReLU(inplace=True),
                nn.Linear(refine_hidden, outputs),
            )
        self._initialise()

    def forward(self, features: dict[str, Tensor], size: Size) -> CellsOutput:
        """One coarse and one refined box per cell, with a logit for every class."""
        grid = [
            to_grid(features[name], self.strides[name], size, self.cell) for name in self.features
        ]
        hidden = self.hidden(torch.cat(grid, 1))
        guess = self.guess(hidden).flatten(2).transpose(1, 2).float()
        centers = cell_centers(size, self.cell, guess.device)
        coarse, logits = decode(guess[..., :4], self._cells(centers)), guess[..., 4:]
        xyxy, final = coarse, logits
        if self.refine:
            seen = torch.cat([hidden.flatten(2).transpose(1, 2), self._look(features, coarse)], 2)
            again = self.again(seen).float()
            xyxy, final = decode(again[..., :4], _reference(coarse)), again[..., 4:]
        return CellsOutput(coarse, logits, xyxy, final, centers, size_tensor(size, centers))

    def loss(
        self, output: CellsOutput, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """Class and box of the coarse boxes, and of the refined ones; means over positives."""
        target = self.targets(batch, output.centers)
        count = target.positive.sum()
        cells = self._cells(output.centers).expand_as(output.coarse)
        totals = {
            "confidence": self._class_loss(output.coarse_logits, target, None),
            "box": _box_loss(output.coarse, cells, target),
        }
        if self.refine:
            overlap = paired_iou(output.xyxy.detach(), target.xyxy)
            totals["refined_confidence"] = self._class_loss(output.logits, target, overlap)
            totals["refined_box"] = _box_loss(output.xyxy, _reference(output.coarse), target)
        return {
            name: self.factors[name] * mean(total, count, reduce_count)
            for name, total in totals.items()
        }

    def scores(self, logits: Tensor) -> Tensor:
        """(M, K) logits -> (M, K) independent scores."""
        return logits.sigmoid()

    def _look(self, features: dict[str, Tensor], coarse: Tensor) -> Tensor:
        """(N, M, points² * channels) fine features sampled where the coarse boxes lie."""
        fine, stride = self.reduce(features[self.fine]), self.strides[self.fine]
        box = to_center(coarse.detach())
        box = torch.cat([box[..., :2] - stride / 2, box[..., 2:]], 2)  # feature i lies at i + 0.5
        seen = rezoom(fine.float(), with_image(box), self.points, self.points, 1 / stride)
        return seen.view(coarse.shape[0], coarse.shape[1], -1)

    def _class_loss(self, logits: Tensor, target: CellTargets, quality: Tensor | None) -> Tensor:
        """Focal loss summed over cells; with `quality` (N, M) the true class's score shall be it.

        Source: Li et al., Generalized Focal Loss, NeurIPS 2020, equation 2.
        """
        answer = F.one_hot(target.label, len(self.classes)) * target.positive[..., None]
        answer = answer.to(logits.dtype) * (1 if quality is None else quality[..., None])
        loss = F.binary_cross_entropy_with_logits(logits, answer, reduction="none")
        hard = (logits.sigmoid() - answer).square()
        return (hard * loss * ~target.ignore[..., None]).sum()

    def _cells(self, centers: Tensor) -> Tensor:
        """(M, 4) the cells as reference boxes cx, cy, w, h."""
        return torch.cat([centers, torch.full_like(centers, float(self.cell))], 1)

    def _initialise(self) -> None:
        self.apply(initialise)
        bias = -math.log((1 - PRIOR) / PRIOR)
        last = [self.guess, self.again[-1]] if self.refine else [self.guess]
        for layer in last:
            assert isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)
            nn.init.constant_(layer.bias[4:], bias)
        if self.refine:
            first = self.again[0]
            assert isinstance(first, nn.Linear)
            nn.init.kaiming_normal_(first.weight, nonlinearity="relu")


def _checked_factors(losses: Mapping[str, float], setting: str) -> dict[str, float]:
    """Factors by term; 1 for those left out."""
    if unknown := sorted(set(losses) - set(TERMS)):
        raise PerceptionError(f"{setting}.losses", unknown[0], f"any of {', '.join(TERMS)}")
    return {term: float(losses.get(term, 1.0)) for term in TERMS}


def _reference(coarse: Tensor) -> Tensor:
    """(N, M, 4) coarse boxes as the constant references cx, cy, w, h of the refined ones."""
    return to_center(coarse.detach()).clamp(min=-1e5, max=1e5)


def _box_loss(predicted: Tensor, reference: Tensor, target: CellTargets) -> Tensor:
    """GIoU and smooth L1 of the encodings relative to `reference`, summed over positive cells."""
    chosen = target.positive
    predicted, truth, reference = predicted[chosen], target.xyxy[chosen], reference[chosen]
    apart = smooth_l1(encode(predicted, reference), encode(truth, reference), beta=0.1)
    return (generalized_iou_loss(predicted, truth) + apart).sum()
