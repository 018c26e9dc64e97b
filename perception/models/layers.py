"""Small building blocks that encoders and heads share."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn, sym_max
from torch.nn import functional as F

Padding = Literal["torch", "same"]
Size = tuple[int, int]  # (height, width)


class SameConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME padding: ceil(in / stride) outputs.

    Where the padding is odd the extra row and column stand at the bottom and right, so even inputs
    are padded (0, 1) at kernel 3, stride 2, while PyTorch's padding of 1 pads (1, 1).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name in nn.Conv2d
        """(N, C, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        pads: list[int] = []
        for axis in (1, 0):  # F.pad starts with the last axis
            length, stride = input.shape[2 + axis], self.stride[axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            outputs = (length + stride - 1) // stride  # ONNX rounds -(-a // b) the other way
            total = sym_max((outputs - 1) * stride + reach - length, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class DilatedDepthwiseConv2d(nn.Conv2d):
    """A depthwise 3x3 with stride 1 and padding = dilation, quick to train on a CPU too.

    PyTorch's CPU library is slow at the backward pass of a dilated depthwise convolution, most of
    all in bfloat16. Rate r is the undilated convolution of the r² interleaved sub-images: the same
    bits forward, gradients within rounding.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name in nn.Conv2d
        """(N, C, H, W) -> (N, C, H, W)."""
        rate = self.dilation[0]
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        if min(input.shape[2:]) < 3 * rate:  # tiny sub-images are slow again
            return super().forward(input)
        images, channels, height, width = input.shape
        rows, columns = -(-height // rate), -(-width // rate)
        pads = (0, columns * rate - width, 0, rows * rate - height)
        x = F.pad(input, pads) if any(pads) else input
        x = x.permute(0, 2, 3, 1).reshape(images, rows, rate, columns, rate, channels)
        x = x.permute(0, 2, 4, 5, 1, 3).reshape(images * rate**2, channels, rows, columns)
        x = F.conv2d(x, self.weight, padding=1, groups=self.groups)
        x = x.permute(0, 2, 3, 1).reshape(images, rate, rate, rows, columns, channels)
        x = x.permute(0, 3, 1, 4, 2, 5).reshape(images, rows * rate, columns * rate, channels)
        return x[:, :height, :width].permute(0, 3, 1, 2)


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: Padding = "torch",
) -> nn.Conv2d:
    """A convolution without bias that keeps H and W, or halves them (rounded up) at stride 2."""
    if padding == "same" and stride > 1:
        return SameConv2d(in_channels, out_channels, kernel, stride, 0, dilation, groups, False)
    reach = dilation * (kernel - 1) // 2
    depthwise = groups == in_channels == out_channels
    kind = DilatedDepthwiseConv2d if depthwise and dilation > 1 == stride else nn.Conv2d
    return kind(in_channels, out_channels, kernel, stride, reach, dilation, groups, False)


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: Padding = "torch",
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation; keys `.0` and `.1` as in torchvision's files."""
    conv = conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding=padding,
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), activation(inplace=True))


def separable_conv(in_channels: int, out_channels: int, *, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3x3, then 1x1, both with batch norm and ReLU (DeepLab's separable convolution)."""
    return nn.Sequential(
        conv_bn(in_channels, in_channels, 3, dilation=dilation, groups=in_channels),
        conv_bn(in_channels, out_channels, 1),
    )


class ImagePooling(nn.Module):
    """The mean of the whole map through 1x1, batch norm and ReLU, spread over the map again."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = conv2d(in_channels, out_channels, 1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out, H, W)."""
        pooled = self.conv(features.mean((2, 3), keepdim=True))
        if self.training and len(features) == 1:  # one value per channel has no variance
            norm = self.norm
            pooled = F.batch_norm(
                pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        else:
            pooled = self.norm(pooled)
        return F.relu(pooled).expand(-1, -1, *features.shape[2:])


def resize(features: Tensor, size: Size, mode: str = "bilinear") -> Tensor:
    """(N, C, h, w) -> (N, C, *size), half-pixel centres (`align_corners=False`)."""
    if tuple(features.shape[2:]) == tuple(size):
        return features
    return F.interpolate(features, size, mode=mode, align_corners=False)
