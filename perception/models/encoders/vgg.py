"""VGG16 (Simonyan & Zisserman, ICLR 2015), plain or with batch norm; MultiNet's first encoder.

Module names equal torchvision's, so its files load. Pooling rounds up as TensorFlow and Caffe do,
unless told otherwise: 375 x 1242 and 384 x 1248 both end at 12 x 39.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.encoders.base import STAGES, Dilation, SequentialEncoder

LAYERS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_FULLY_CONNECTED = {
    "classifier.0.weight": (4096, 512, 7, 7),
    "classifier.3.weight": (4096, 4096, 1, 1),
    "classifier.6.weight": (1000, 4096, 1, 1),
}


class VGG16(SequentialEncoder):
    """Stages `s2` to `s32` are pool1 to pool5; taps `conv4_3` (stride 8) and `conv5_3` (16).

    Args:
        batch_norm: batch norm after every convolution (VGG16-BN).
        output_stride: 32, 16 or 8; a pool whose stride is dropped looks at 3 x 3 instead.
        ceil: pooling rounds sizes up; without it odd rows and columns are cut off.
        fc7: adds the classifier's first two layers as convolutions: feature `fc7`, 4096 channels.
        input_padding: zeros around the image, the first convolution's one included; 100 in the FCN
            authors' models, whose fc6 pads nothing.
        dropout: after fc6 and fc7.
        weights, freeze, frozen_batch_norm: see `Encoder`.
        imagenet_head: adds the whole classifier for `classify`, in place of `fc7`.
    """

    def __init__(
        self,
        *,
        batch_norm: bool = False,
        output_stride: int = 32,
        ceil: bool = True,
        fc7: bool = False,
        input_padding: int = 0,
        dropout: float = 0.5,
        weights: str | Path | None = None,
        freeze: str | None = None,
        frozen_batch_norm: bool = False,
        imagenet_head: bool = False,
    ) -> None:
        super().__init__()
        name = "vgg16_bn-6c64b313" if batch_norm else "vgg16-397923af"
        self.url = f"https://download.pytorch.org/models/{name}.pth"
        if fc7 and (output_stride != 32 or imagenet_head):
            raise PerceptionError(
                "encoder.fc7",
                f"{output_stride=}, {imagenet_head=}",
                "output_stride=32, imagenet_head=False",
                "Set one or the other.",
            )
        self.unused_keys = ("classifier.6.",) if fc7 else ("classifier.",)
        self.input_padding = input_padding
        self.features, self.taps = self._layers(batch_norm, ceil, Dilation(output_stride))
        if fc7:
            self.channels["fc7"], self.strides["fc7"] = 4096, 32
            self.classifier = _classifier(dropout, padding=0 if input_padding else 3)
        elif imagenet_head:
            self.classifier = _classifier(dropout, padding=0)
            self.classifier.append(nn.Conv2d(4096, 1000, 1))
        self._finish(weights, freeze, frozen_batch_norm)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features `s2` to `s32`, `conv4_3`, `conv5_3`, and `fc7` where it was asked for."""
        if self.input_padding:
            image = F.pad(image, [self.input_padding - 1] * 4)
        features = super().forward(image)
        if "fc7" in self.channels:
            features["fc7"] = self.classifier(features["s32"])
        return features

    def classify(self, image: Tensor) -> Tensor:
        """(N, 1000) class scores of normalised 224 x 224 images; needs `imagenet_head`."""
        result: Tensor = self.classifier(self.features(image)).flatten(1)
        return result

    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """The layers of each stage."""
        stages = super().stages()
        if "fc7" in self.channels:
            stages["fc7"] = list(self.classifier)
        return stages

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's linear layers as convolutions."""
        return {
            key: value.view(_FULLY_CONNECTED[key])
            if value.dim() == 2 and value.numel() == math.prod(_FULLY_CONNECTED.get(key, ()))
            else value
            for key, value in state.items()
        }

    def _layers(
        self, batch_norm: bool, ceil: bool, dilation: Dilation
    ) -> tuple[nn.Sequential, dict[int, str]]:
        """The layers, and which of them end a stage or are another tap."""
        layers: list[nn.Module] = []
        taps = {}
        before = 3
        for number, (sizes, stage) in enumerate(zip(LAYERS, STAGES, strict=True), 1):
            for channels in sizes:
                rate = dilation.rate
                layers.append(nn.Conv2d(before, channels, 3, padding=rate, dilation=rate))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU(inplace=True))
                before = channels
            if number in (4, 5):
                tap = f"conv{number}_3"
                taps[len(layers) - 1] = tap
                self.channels[tap], self.strides[tap] = before, dilation.stride
            stride, _ = dilation.step(2)
            layers.append(
                nn.MaxPool2d(2, 2, ceil_mode=ceil) if stride == 2 else nn.MaxPool2d(3, 1, padding=1)
            )
            taps[len(layers) - 1] = stage
            self.channels[stage], self.strides[stage] = before, dilation.stride
        return nn.Sequential(*layers), taps


def _classifier(dropout: float, *, padding: int) -> nn.Sequential:
    """fc6 and fc7 as convolutions."""
    return nn.Sequential(
        nn.Conv2d(512, 4096, 7, padding=padding),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Conv2d(4096, 4096, 1),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
    )
