"""The pooling ops as modules, with torchvision's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from perception.ops.align import roi_align
from perception.ops.pooling import ps_roi_align, ps_roi_pool, roi_pool


class _Pooling(nn.Module):
    """Settings of a pooling op, shown in its repr."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def extra_repr(self) -> str:
        """The settings, as they were given."""
        fields = ("output_size", "spatial_scale", "sampling_ratio", "aligned")
        return ", ".join(f"{name}={getattr(self, name)}" for name in fields if hasattr(self, name))


class RoIAlign(_Pooling):
    """See `roi_align`."""

    def __init__(
        self,
        output_size: int | Sequence[int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = False,
    ) -> None:
        super().__init__(output_size, spatial_scale)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:  # noqa: A002
        """(K, C, height, width)."""
        settings = (self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)
        return roi_align(input, rois, *settings)


class RoIPool(_Pooling):
    """See `roi_pool`."""

    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:  # noqa: A002
        """(K, C, height, width)."""
        return roi_pool(input, rois, self.output_size, self.spatial_scale)


class PSRoIAlign(_Pooling):
    """See `ps_roi_align`."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int
    ) -> None:
        super().__init__(output_size, spatial_scale)
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:  # noqa: A002
        """(K, C / (height * width), height, width)."""
        return ps_roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)


class PSRoIPool(_Pooling):
    """See `ps_roi_pool`."""

    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:  # noqa: A002
        """(K, C / (height * width), height, width)."""
        return ps_roi_pool(input, rois, self.output_size, self.spatial_scale)
