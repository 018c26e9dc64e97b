"""Boxes: anchor-free, one box per point at strides 8, 16 and 32, for objects of every size.

A light top-down neck joins the levels (Lin et al., Feature Pyramid Networks, CVPR 2017); one tower
serves them all. Every point tells its distances to the four sides and one score per class (Tian et
al., FCOS, ICCV 2019). Points are assigned to boxes by what they say themselves (Feng et al., TOOD,
ICCV 2021); the score learns the overlap (Li et al., Generalized Focal Loss, NeurIPS 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.encoders.base import initialise
from perception.models.heads.aligned import assign_aligned
from perception.models.heads.base import choose
from perception.models.heads.boxes import BoxHead, checked_suppression
from perception.models.heads.cells import points, size_tensor
from perception.models.layers import Size, conv_bn, separable_conv
from perception.models.losses import ReduceCount, generalized_iou_loss, identity, mean

if TYPE_CHECKING:
    from perception.data.batch import Batch

TERMS = ("class", "box")
PRIOR = 0.01  # score of every point before training: positives are rare
LONGEST = 8.0  # logarithm of the longest distance in strides: exp of more is no box


class AnchorFreeOutput(NamedTuple):
    """M points per image over all levels, finest first; pixels of the network's input, float32."""

    xyxy: Tensor  # (N, M, 4)
    logits: Tensor  # (N, M, K)
    points: Tensor  # (M, 2) x, y
    strides: Tensor  # (M,)
    size: Tensor  # (2,) height, width of the images


class AnchorFree(BoxHead):
    """One box per point of several levels.

    Args:
        channels, strides: of the encoder's features, by name.
        classes: names of the classes, in the order of the targets' labels.
        features: the levels, from fine to coarse.
        width: channels of neck and tower.
        depth: separable convolutions of the tower.
        candidates: points that a box may have at most.
        losses: factors of the terms `class` and `box`.
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
        features: Sequence[str] = ("s8", "s16", "s32"),
        width: int = 64,
        depth: int = 2,
        candidates: int = 10,
        losses: Mapping[str, float] | None = None,
        min_score: float = 0.05,
        nms_iou: float = 0.6,
        suppression: str = "nms",
        max_boxes: int = 100,
    ) -> None:
        super().__init__(task)
        self.classes, self.features = tuple(classes), tuple(features)
        self.strides = [strides.get(name, 0) for name in features]
        self.candidates = candidates
        self.factors = {"class": 1.0, "box": 2.0, **(losses or {})}
        if unknown := sorted(set(self.factors) - set(TERMS)):
            known = f"any of {', '.join(TERMS)}"
            raise PerceptionError(f"{self.setting}.losses", unknown[0], known)
        self.min_score, self.nms_iou, self.max_boxes = min_score, nms_iou, max_boxes
        self.suppression = checked_suppression(suppression, self.setting)
        read = [choose(channels, name, f"{self.setting}.features") for name in features]
        self.lateral = nn.ModuleList(conv_bn(c, width, 1) for c in read)
        self.smooth = nn.ModuleList(separable_conv(width, width) for _ in read)
        self.tower = nn.Sequential(*(separable_conv(width, width) for _ in range(depth)))
        self.scale = nn.Parameter(torch.zeros(len(read)))  # logarithm of a level's usual distance
        self.say = nn.Conv2d(width, 4 + len(self.classes), 1)
        self._initialise()

    def forward(self, features: dict[str, Tensor], size: Size) -> AnchorFreeOutput:
        """A box and a logit of every class for every point of every level."""
        boxes, logits, places, strides = [], [], [], []
        for level, (stride, feature) in enumerate(
            zip(self.strides, self._neck(features), strict=True)
        ):
            said = self.say(self.tower(feature)).flatten(2).transpose(1, 2).float()
            place = points(feature.shape[2], feature.shape[3], stride, feature.device)
            far = (said[..., :4] + self.scale[level]).clamp(max=LONGEST).exp() * stride
            boxes.append(torch.cat([place - far[..., :2], place + far[..., 2:]], -1))
            logits.append(said[..., 4:])
            places.append(place)
            strides.append(place.new_full((len(place),), stride))
        every = torch.cat(places)
        return AnchorFreeOutput(
            torch.cat(boxes, 1),
            torch.cat(logits, 1),
            every,
            torch.cat(strides),
            size_tensor(size, every),
        )

    def loss(
        self, output: AnchorFreeOutput, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """Quality focal loss over points, GIoU over those of a box; means over their quality."""
        answers = torch.zeros_like(output.logits)
        counted = torch.ones_like(output.logits[..., 0])
        total = output.xyxy.sum() * 0
        for i, target in enumerate(batch.boxes_of(self.task)):
            chosen = assign_aligned(
                output.xyxy[i].detach(),
                output.logits[i].detach().sigmoid(),
                output.points,
                output.strides,
                target.xyxy.to(output.xyxy),
                target.label,
                target.ignore,
                candidates=self.candidates,
            )
            counted[i] = (~chosen.ignore).float()
            mine = chosen.positive.nonzero()[:, 0]
            quality = chosen.quality[mine]
            answers[i, mine, target.label[chosen.box[mine]]] = quality
            truth = target.xyxy.to(output.xyxy)[chosen.box[mine]]
            total = total + (generalized_iou_loss(output.xyxy[i, mine], truth) * quality).sum()
        count = answers.sum().clamp_min(1.0)
        loss = F.binary_cross_entropy_with_logits(output.logits, answers, reduction="none")
        hard = (output.logits.sigmoid() - answers).square().detach()
        focal = (hard * loss * counted[..., None]).sum()
        return {
            "class": self.factors["class"] * mean(focal, count, reduce_count),
            "box": self.factors["box"] * mean(total, count, reduce_count),
        }

    def scores(self, logits: Tensor) -> Tensor:
        """(M, K) logits -> (M, K) independent scores."""
        return logits.sigmoid()

    def _neck(self, features: dict[str, Tensor]) -> list[Tensor]:
        """The levels of `width` channels, each with what the coarser ones know."""
        levels = [layer(features[n]) for layer, n in zip(self.lateral, self.features, strict=True)]
        for fine in range(len(levels) - 2, -1, -1):
            size = (levels[fine].shape[2], levels[fine].shape[3])
            levels[fine] = levels[fine] + F.interpolate(levels[fine + 1], size)
        return [layer(level) for layer, level in zip(self.smooth, levels, strict=True)]

    def _initialise(self) -> None:
        self.apply(initialise)
        assert self.say.bias is not None
        nn.init.normal_(self.say.weight, 0.0, 0.01)
        nn.init.zeros_(self.say.bias)
        nn.init.constant_(self.say.bias[4:], -math.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(self.scale, math.log(2.0))
