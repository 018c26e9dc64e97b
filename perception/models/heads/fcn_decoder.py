"""FCN decoders: scores or features of several maps, upsampled and added up, give every pixel's.

Long et al., Fully Convolutional Networks, CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.encoders.base import initialise
from perception.models.heads.base import choose
from perception.models.initialisation import INITIALISATIONS
from perception.models.layers import Size, conv_bn, resize
from perception.models.upsampling import Deconv, crop, upsample


class FCNDecoder(nn.Module):
    """Adds up features from coarse to fine and scores every pixel.

    Args:
        channels, strides: of the encoder's features, by name.
        names: the features to read, from coarse to fine.
        classes: scores per pixel.
        width: features that are joined; 0 joins scores, as FCN-8s does.
        upsampling: `resize_conv`, `pixelshuffle` or `deconv`.
        initialisation: of the 1x1 convolutions: `he`, `truncated_he` or `xavier`.
        skip_scale: variance of each skip's first weights, relative to the one before it.
        setting: where the settings are, for messages.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        names: Sequence[str],
        *,
        classes: int,
        width: int = 0,
        upsampling: str = "resize_conv",
        initialisation: str = "truncated_he",
        skip_scale: float = 1.0,
        setting: str = "head",
    ) -> None:
        super().__init__()
        self.names, self.joined = tuple(names), bool(width)
        inner = width or classes
        sizes = [choose(channels, name, f"{setting}.skips") for name in names]
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(size, inner, 1, bias=False), nn.BatchNorm2d(inner))
            if width
            else nn.Conv2d(size, inner, 1)
            for size in sizes
        )
        real = [strides[name] for name in names]
        self.steps = nn.ModuleList(
            upsample(upsampling, inner, coarse // fine, setting) if coarse > fine else nn.Module()
            for coarse, fine in pairwise(real)
        )
        self.score: nn.Module = nn.Identity()
        if width:
            self.score = nn.Sequential(conv_bn(width, width, 3), nn.Conv2d(width, classes, 1))
        self.last: nn.Module | None = None
        if upsampling != "resize_conv":  # whose 3x3 at full size would only blur the plain resize
            self.last = upsample(upsampling, classes, real[-1], setting)
        self._initialise(initialisation, skip_scale, setting)

    def forward(self, features: dict[str, Tensor], size: Size) -> Tensor:
        """Features by name -> (N, classes, *size) logits, float32."""
        x = self.laterals[0](features[self.names[0]])
        for i, name in enumerate(self.names[1:]):
            x = F.relu(x) if self.joined else x
            x = self.join(i, x, self.laterals[i + 1](features[name]))
        x = self.score(F.relu(x) if self.joined else x)
        return self.enlarge(x, size)

    def join(self, i: int, coarse: Tensor, skip: Tensor) -> Tensor:
        """(N, C, h, w), (N, C, H, W) -> (N, C, H, W): step `i`."""
        if coarse.shape[2:] != skip.shape[2:]:
            coarse = self.steps[i](coarse, (skip.shape[2], skip.shape[3]))
        return coarse + skip

    def enlarge(self, scores: Tensor, size: Size) -> Tensor:
        """(N, classes, h, w) -> (N, classes, *size), float32."""
        return (
            resize(scores.float(), size) if self.last is None else self.last(scores, size).float()
        )

    def _initialise(self, kind: str, skip_scale: float, setting: str) -> None:
        if kind not in INITIALISATIONS:
            raise PerceptionError(
                f"{setting}.initialisation",
                str(kind),
                ", ".join(INITIALISATIONS),
                "Choose one of them.",
            )
        self.score.apply(initialise)
        factor = 2.0
        for lateral in self.laterals:
            conv = lateral[0] if isinstance(lateral, nn.Sequential) else lateral
            assert isinstance(conv, nn.Conv2d)
            INITIALISATIONS[kind](conv.weight, factor)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            factor *= skip_scale


class CaffeFCNDecoder(FCNDecoder):
    """The FCN authors' own: unpadded deconvolutions, skips and image cut out at fixed offsets.

    Args:
        channels, strides, names, classes, initialisation, skip_scale, setting: see `FCNDecoder`.
        crops: one offset per skip and one for the image: 5, 9, 31 after 100 pixels of padding.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        names: Sequence[str],
        *,
        classes: int,
        crops: Sequence[int] = (5, 9, 31),
        initialisation: str = "truncated_he",
        skip_scale: float = 1.0,
        setting: str = "head",
    ) -> None:
        super().__init__(
            channels,
            strides,
            names,
            classes=classes,
            upsampling="deconv",
            initialisation=initialisation,
            skip_scale=skip_scale,
            setting=setting,
        )
        self.crops = tuple(crops)
        for layer in [*self.steps, self.last]:
            assert isinstance(layer, Deconv)
            layer.conv.padding = (0, 0)

    def join(self, i: int, coarse: Tensor, skip: Tensor) -> Tensor:
        """The whole upsampled map plus the part of the skip under it."""
        step = self.steps[i]
        assert isinstance(step, Deconv)
        coarse = step.conv(coarse)
        return coarse + crop(skip, (coarse.shape[2], coarse.shape[3]), self.crops[i])

    def enlarge(self, scores: Tensor, size: Size) -> Tensor:
        """The part of the upsampled map under the image."""
        assert isinstance(self.last, Deconv)
        return crop(self.last.conv(scores), size, self.crops[-1]).float()
