"""MobileNetV1 (Howard et al., 2017): depthwise 3x3 and 1x1 convolutions, no pooling."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from perception.models.encoders.base import Dilation, SequentialEncoder
from perception.models.layers import Padding, conv_bn

BLOCKS = (  # channels, stride
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
TAPS = {1: "s2", 3: "s4", 5: "s8", 11: "s16", 13: "s32"}  # index in `features` -> stage


class MobileNetV1(SequentialEncoder):
    """Thirteen separable blocks; nobody publishes PyTorch weights under an agreed name.

    Args:
        width: multiplies the channels, rounded down; published are 1, 0.75, 0.5, 0.25.
        output_stride: 32, 16 or 8.
        padding: `torch` (symmetric), or `same` for weights trained in TensorFlow.
        weights, freeze, frozen_batch_norm: see `Encoder`.
        imagenet_head: adds the 1000-class layer for `classify`.
    """

    unused_keys = ("classifier.",)

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
        self.width, self.taps = width, TAPS
        dilation = Dilation(output_stride)
        channels = max(8, int(32 * width))
        stride, _ = dilation.step(2)
        layers: list[nn.Module] = [
            conv_bn(3, channels, 3, stride=stride, padding=padding, activation=nn.ReLU6)
        ]
        for base, block_stride in BLOCKS:
            out_channels = max(8, int(base * width))
            stride, rate = dilation.step(block_stride)
            layers.append(
                SeparableBlock(
                    channels, out_channels, stride=stride, dilation=rate, padding=padding
                )
            )
            channels = out_channels
            if name := self.taps.get(len(layers) - 1):
                self.channels[name], self.strides[name] = channels, dilation.stride
        self.features = nn.Sequential(*layers)
        if imagenet_head:
            self.classifier = nn.Linear(channels, 1000)
        self._finish(weights, freeze, frozen_batch_norm)

    def classify(self, image: Tensor) -> Tensor:
        """(N, 1000) ImageNet class scores of normalised images; needs `imagenet_head`."""
        result: Tensor = self.classifier(self.features(image).mean((2, 3)))
        return result

    def _describe(self) -> str:
        return f"MobileNetV1 of width {self.width}"


class SeparableBlock(nn.Module):
    """Depthwise 3x3, then 1x1, each with batch norm and ReLU6."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, dilation: int, padding: Padding
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            conv_bn(
                in_channels,
                in_channels,
                3,
                stride=stride,
                dilation=dilation,
                groups=in_channels,
                padding=padding,
                activation=nn.ReLU6,
            ),
            conv_bn(in_channels, out_channels, 1, activation=nn.ReLU6),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H / stride, W / stride)."""
        result: Tensor = self.conv(features)
        return result
