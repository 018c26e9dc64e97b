"""The pooling ops as modules, with torchvision's names and arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from perception.ops.align import multi_level_roi_align, roi_align
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


class MultiScaleRoIAlign(nn.Module):
    """`multi_level_roi_align` of the named maps of a pyramid, their scales found from the sizes."""

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int | Sequence[int],
        sampling_ratio: int,
        *,
        canonical_scale: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        self.featmap_names = list(featmap_names)
        pair = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size)
        self.output_size = pair
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level

    def forward(
        self,
        x: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """(K, C, height, width).

        Args:
            x: (N, C, H_l, W_l) by name, finest first; names that were not asked for are left out.
            boxes: one (L_i, 4) per image, in pixels of the network's input.
            image_shapes: (height, width) of every image before it was padded into the batch; the
                largest is taken for the size of the input.

        Raises:
            ValueError: no map has one of the names, or the maps do not halve from one to the next.
        """
        maps = [each for name, each in x.items() if name in self.featmap_names]
        if not maps or not image_shapes:
            raise ValueError(
                f"found maps {list(x)} and {len(image_shapes)} image shapes, expected maps "
                f"{self.featmap_names} and at least one image"
            )
        height, width = (max(shape[axis] for shape in image_shapes) for axis in (0, 1))
        scales = [_power_of_two(each.shape[2:], (height, width)) for each in maps]
        settings = (self.sampling_ratio, False, self.canonical_scale, self.canonical_level)
        return multi_level_roi_align(maps, boxes, self.output_size, scales, *settings)

    def extra_repr(self) -> str:
        """The settings, as torchvision prints them."""
        return (
            f"featmap_names={self.featmap_names}, output_size={self.output_size}, "
            f"sampling_ratio={self.sampling_ratio}"
        )


def _power_of_two(size: Sequence[int], image: Sequence[int]) -> float:
    """Map cells per image pixel, rounded to a power of two; that of the rows counts."""
    return 2.0 ** round(math.log2(size[0] / image[0]))
