"""Region-of-interest operators with torchvision's signatures."""

from perception.ops.crop import rezoom
from perception.ops.suppression import nms

__all__ = ["nms", "rezoom"]
