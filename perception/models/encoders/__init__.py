"""Encoders: an image in, named feature maps out."""

from perception.models.encoders.base import Encoder
from perception.models.encoders.mobilenet_v2 import MobileNetV2

__all__ = ["Encoder", "MobileNetV2"]
