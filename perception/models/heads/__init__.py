"""Heads: feature maps in, one task's output, loss and decoded result out."""

from perception.models.heads.anchor_free import AnchorFree
from perception.models.heads.base import Head
from perception.models.heads.fastbox import FastBox
from perception.models.heads.multinet_fastbox import MultiNetFastBox
from perception.models.heads.road import RoadFCN
from perception.models.heads.semantic import DeepLab

__all__ = ["AnchorFree", "DeepLab", "FastBox", "Head", "MultiNetFastBox", "RoadFCN"]
