"""Encoders: an image in, named feature maps out."""

from perception.models.encoders.base import Encoder
from perception.models.encoders.mobilenet_v1 import MobileNetV1
from perception.models.encoders.mobilenet_v2 import MobileNetV2
from perception.models.encoders.resnet import ResNet
from perception.models.encoders.vgg import VGG16

__all__ = ["VGG16", "Encoder", "MobileNetV1", "MobileNetV2", "ResNet"]
