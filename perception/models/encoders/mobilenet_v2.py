"""MobileNetV2 (Sandler et al., CVPR 2018): inverted residuals with linear bottlenecks.

Module names equal torchvision's, so its files load. 17 blocks, as in the paper's table 2.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from perception.models.encoders.base import Dilation, SequentialEncoder
from perception.models.layers import Padding, conv2d, conv_bn

BLOCKS = (  # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
TAPS = {1: "s2", 3: "s4", 6: "s8", 13: "s16", 17: "s32"}  # index in `features` -> stage


class MobileNetV2(SequentialEncoder):
    """The encoder up to the last bottleneck; skips are the blocks' outputs (24 channels at s4).

    Args:
        width: multiplies the channels, which are rounded to multiples of 8.
        output_stride: 32, 16 or 8.
        padding: `torch` (symmetric), or `same` for weights trained in TensorFlow.
        weights, freeze, frozen_batch_norm: see `Encoder`.
        imagenet_head: adds the last 1x1 convolution and the 1000-class layer for `classify`.
    """

    unused_keys = ("features.18.", "classifier.")

    def __init__(
        self,
        *,
        width: float = 1.0,
        output_stride: int = 32,
        padding: Padding = "torch",
        weights: str | Path | None = None,
        freeze: str | None = None,
        frozen_batch_norm: bool = False,
        imagenet_head: bool = False,
    ) -> None:
        super().__init__()
        if width == 1.0:
            self.url = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"
        self.width, self.taps = width, TAPS
        dilation = Dilation(output_stride)
        channels = make_divisible(32 * width)
        stride, _ = dilation.step(2)
        layers: list[nn.Module] = [
            conv_bn(3, channels, 3, stride=stride, padding=padding, activation=nn.ReLU6)
        ]
        for expansion, base, count, first_stride in BLOCKS:
            out_channels = make_divisible(base * width)
            for i in range(count):
                stride, rate = dilation.step(first_stride if i == 0 else 1)
                layers.append(
                    InvertedResidual(
                        channels,
                        out_channels,
                        expansion=expansion,
                        stride=stride,
                        dilation=rate,
                        padding=padding,
                    )
                )
                channels = out_channels
                if name := self.taps.get(len(layers) - 1):
                    self.channels[name], self.strides[name] = channels, dilation.stride
        if imagenet_head:
            last = make_divisible(1280 * max(1.0, width))
            layers.append(conv_bn(channels, last, 1, activation=nn.ReLU6))
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, 1000))
        self.features = nn.Sequential(*layers)
        self._finish(weights, freeze, frozen_batch_norm)

    def classify(self, image: Tensor) -> Tensor:
        """(N, 1000) ImageNet class scores of normalised images; needs `imagenet_head`."""
        result: Tensor = self.classifier(self.features(image).mean((2, 3)))
        return result

    def _describe(self) -> str:
        return f"MobileNetV2 of width {self.width}"


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1; a residual where stride 1 keeps the channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int,
        stride: int,
        dilation: int,
        padding: Padding,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_bn(in_channels, hidden, 1, activation=nn.ReLU6))
        layers += [
            conv_bn(
                hidden,
                hidden,
                3,
                stride=stride,
                dilation=dilation,
                groups=hidden,
                padding=padding,
                activation=nn.ReLU6,
            ),
            conv2d(hidden, out_channels, 1),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H / stride, W / stride)."""
        result: Tensor = features + self.conv(features) if self.residual else self.conv(features)
        return result


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, at least `divisor` and 0.9 * `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
