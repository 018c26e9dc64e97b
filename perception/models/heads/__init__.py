"""Heads: feature maps in, one task's output, loss and decoded result out."""

from perception.models.heads.base import Head
from perception.models.heads.semantic import DeepLab

__all__ = ["DeepLab", "Head"]
