"""ResNet-18, -34, -50, -101 (He et al., CVPR 2016) with the stride on the 3x3 convolution.

Module names equal torchvision's, so its files load.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.encoders.base import STAGES, Dilation, Encoder
from perception.models.layers import conv2d

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # per layer
_PUBLISHED = {
    18: "resnet18-f37072fd",
    34: "resnet34-b627a593",
    50: "resnet50-0676ba61",
    101: "resnet101-63fe2227",
}


class ResNet(Encoder):
    """Stages: `s2` the stem before pooling, `s4` to `s32` the four layers.

    Args:
        depth: 18, 34, 50 or 101.
        output_stride: 32, 16 or 8.
        weights, freeze, frozen_batch_norm: see `Encoder`.
        imagenet_head: adds the 1000-class layer for `classify`.
    """

    unused_keys = ("fc.",)

    def __init__(
        self,
        depth: int = 50,
        *,
        output_stride: int = 32,
        weights: str | Path | None = None,
        freeze: str | None = None,
        frozen_batch_norm: bool = False,
        imagenet_head: bool = False,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise PerceptionError(
                "encoder.depth",
                str(depth),
                f"one of {', '.join(map(str, BLOCKS))}",
                "Choose one of them.",
            )
        self.url = f"https://download.pytorch.org/models/{_PUBLISHED[depth]}.pth"
        self.depth = depth
        block = Bottleneck if depth >= 50 else BasicBlock
        dilation = Dilation(output_stride)
        self.conv1 = nn.Conv2d(3, 64, 7, dilation.step(2)[0], 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.channels["s2"], self.strides["s2"] = 64, dilation.stride
        self.maxpool = nn.MaxPool2d(3, dilation.step(2)[0], padding=1)
        channels = 64
        layers = []
        for i, count in enumerate(BLOCKS[depth]):
            layer = nn.Sequential()
            for j in range(count):
                stride, rate = dilation.step(2 if i > 0 and j == 0 else 1)
                layer.append(block(channels, 64 * 2**i, stride, rate, dilation.rate))
                channels = 64 * 2**i * block.expansion
            layers.append(layer)
            self.channels[STAGES[i + 1]], self.strides[STAGES[i + 1]] = channels, dilation.stride
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        if imagenet_head:
            self.fc = nn.Linear(channels, 1000)
        self._finish(weights, freeze, frozen_batch_norm)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features `s2` to `s32`."""
        s2 = self.relu(self.bn1(self.conv1(image)))
        s4 = self.layer1(self.maxpool(s2))
        s8 = self.layer2(s4)
        s16 = self.layer3(s8)
        return {"s2": s2, "s4": s4, "s8": s8, "s16": s16, "s32": self.layer4(s16)}

    def classify(self, image: Tensor) -> Tensor:
        """(N, 1000) ImageNet class scores of normalised images; needs `imagenet_head`."""
        result: Tensor = self.fc(self(image)["s32"].mean((2, 3)))
        return result

    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """The layers of each stage."""
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        return {"s2": (self.conv1, self.bn1)} | {
            name: (layer,) for name, layer in zip(STAGES[1:], layers, strict=True)
        }


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, dilation: int, next_dilation: int
    ) -> None:
        super().__init__()
        self.conv1 = conv2d(in_channels, width, 3, stride=stride, dilation=dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv2d(width, width, 3, dilation=next_dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(in_channels, width, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, width, H / stride, W / stride)."""
        x = F.relu(self.bn1(self.conv1(features)), inplace=True)
        x = self.bn2(self.conv2(x))
        return F.relu(x + (features if self.downsample is None else self.downsample(features)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the width, and a shortcut."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        dilation: int,
        next_dilation: int,  # noqa: ARG002, one 3x3 only; the signature of BasicBlock
    ) -> None:
        super().__init__()
        self.conv1 = conv2d(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv2d(width, width, 3, stride=stride, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv2d(width, width * 4, 1)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.downsample = shortcut(in_channels, width * 4, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, 4 * width, H / stride, W / stride)."""
        x = F.relu(self.bn1(self.conv1(features)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.bn3(self.conv3(x))
        return F.relu(x + (features if self.downsample is None else self.downsample(features)))


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1 convolution with batch norm where stride or channels change, else nothing."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        conv2d(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels)
    )
