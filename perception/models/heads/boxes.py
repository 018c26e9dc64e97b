"""What heads for boxes share: which of their boxes are results, and how they are decoded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from perception.errors import PerceptionError
from perception.models.heads.base import Head
from perception.models.layers import Size
from perception.ops import box_voting, nms, soft_nms
from perception.structures import Boxes
from perception.tasks import Kind

CANDIDATES = 1000  # boxes per class that enter NMS, the best ones
SUPPRESSIONS = ("nms", "soft_nms", "box_voting")


class BoxesOutput(Protocol):
    """What every head for boxes says: M boxes per image, pixels of the network's input, float32."""

    @property
    def xyxy(self) -> Tensor:
        """(N, M, 4)."""

    @property
    def logits(self) -> Tensor:
        """(N, M, K), or what `scores` of the head makes that from."""

    @property
    def size(self) -> Tensor:
        """(2,) height, width of the images."""


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
    """Base of the heads for boxes; where their boxes come from is theirs."""

    kind = Kind.BOXES
    classes: tuple[str, ...]
    min_score: float
    nms_iou: float
    suppression: str = "nms"
    max_boxes: int

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """(..., K or 1 + K) logits -> (..., K) score of each class."""

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
