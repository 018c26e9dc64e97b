"""What heads for boxes share: their output, the targets of a batch, decoding with NMS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from perception.errors import PerceptionError
from perception.models.heads.base import Head
from perception.models.heads.cells import assign
from perception.models.layers import Size
from perception.ops import box_voting, nms, soft_nms
from perception.structures import Boxes
from perception.tasks import Kind

if TYPE_CHECKING:
    from perception.data.batch import Batch

CANDIDATES = 1000  # boxes per class that enter NMS, the best ones
SUPPRESSIONS = ("nms", "soft_nms", "box_voting")


class BoxesOutput(NamedTuple):
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


@dataclass(frozen=True)
class BoxRules:
    """Which of many boxes are results: those above `min_score` after suppression by class."""

    classes: tuple[str, ...]
    min_score: float
    nms_iou: float
    max_boxes: int  # of an image
    suppression: str = "nms"

    def apply(self, xyxy: Tensor, scores: Tensor) -> Boxes:
        """The results of one image, best first, of (M, 4) boxes and (M, K) scores."""
        found: list[tuple[Tensor, Tensor]] = []  # (boxes, score) per class
        for column in scores.unbind(1):
            some = column > self.min_score
            order = column[some].argsort(descending=True, stable=True)[:CANDIDATES]
            found.append(self._suppressed(xyxy[some][order], column[some][order]))
        return _boxes(found, self.classes, self.max_boxes)

    def _suppressed(self, boxes: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of the boxes of one class, by the chosen suppression."""
        if self.suppression == "soft_nms":
            best, lowered = soft_nms(boxes, score, min_score=self.min_score)
            return boxes[best], lowered
        kept = nms(boxes, score, self.nms_iou)
        if self.suppression == "box_voting":
            return box_voting(boxes[kept], score[kept], boxes, score, self.nms_iou)
        return boxes[kept], score[kept]


class BoxHead(Head):
    """Base of the heads that answer one box per cell."""

    kind = Kind.BOXES
    classes: tuple[str, ...]
    cell: int
    focus: float
    min_score: float
    nms_iou: float
    suppression: str = "nms"
    max_boxes: int

    def scores(self, logits: Tensor) -> Tensor:
        """(M, K or 1 + K) logits -> (M, K) score of each class."""
        raise NotImplementedError

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

    @torch.no_grad()
    def decode(self, output: BoxesOutput, index: int = 0) -> Boxes:
        """Boxes above `min_score` after suppression in each class, best first, inside the image."""
        size = int(output.size[0]), int(output.size[1])
        said = self.answer(output, size)
        return self.rules.apply(said["xyxy"][index].cpu(), said["scores"][index].cpu())

    def answer(self, output: BoxesOutput, size: Size) -> dict[str, Tensor]:
        """`xyxy` (N, M, 4) inside the image and `scores` (N, M, K), 0 for empty boxes."""
        xyxy, scores = output.xyxy.float(), self.scores(output.logits.float())
        x, y = xyxy[..., 0::2].clamp(0, size[1]), xyxy[..., 1::2].clamp(0, size[0])
        xyxy = torch.stack([x, y], -1).flatten(-2)
        real = (xyxy[..., 2:] > xyxy[..., :2]).all(-1, keepdim=True)
        return {"xyxy": xyxy, "scores": torch.where(real, scores, torch.zeros_like(scores))}

    @property
    def rules(self) -> BoxRules:
        """Which of its boxes are results."""
        return BoxRules(
            self.classes, self.min_score, self.nms_iou, self.max_boxes, self.suppression
        )


def checked_suppression(name: str, setting: str) -> str:
    """The name, or a `PerceptionError` that lists those there are."""
    if name not in SUPPRESSIONS:
        raise PerceptionError(
            f"{setting}.suppression", str(name), f"one of {', '.join(SUPPRESSIONS)}"
        )
    return name


def _boxes(found: Sequence[tuple[Tensor, Tensor]], classes: Sequence[str], limit: int) -> Boxes:
    """One set of boxes, best first, from those of each class."""
    score = torch.cat([s for _, s in found])
    order = score.argsort(descending=True, stable=True)[:limit]
    names = [name for name, (_, s) in zip(classes, found, strict=True) for _ in range(len(s))]
    xyxy = torch.cat([b for b, _ in found])[order]
    return Boxes.of(xyxy.numpy(), [names[i] for i in order.tolist()], score=score[order].numpy())
