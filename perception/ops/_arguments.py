"""Checks of what users pass in, before anything is computed: shapes, dtypes, ranges.

What only the values of a tensor can tell (an image index out of range) is checked by the kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from perception.ops.reference._common import image_indices

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MAX_SAMPLING_RATIO = 65535
MAX_OUTPUT_SIZE = 65535


def check_features(name: str, features: Tensor) -> None:
    """`features` is a dense, real, floating (N, C, H, W) tensor; TypeError or ValueError if not."""
    check_floating(name, features)
    if features.dim() != 4:
        raise ValueError(f"{name} must have shape (N, C, H, W), got {tuple(features.shape)}")


def check_floating(name: str, tensor: Tensor) -> None:
    """`tensor` is dense and float32, float64, float16 or bfloat16; TypeError if not."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in FLOATS:
        raise TypeError(
            f"{name} must be float32, float64, float16 or bfloat16, got {tensor.dtype}; "
            f"convert it with {name}.float()"
        )
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got {tensor.layout}; use {name}.to_dense()")


def as_pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from an int or a pair of ints, each 0 to 65535; ValueError if not."""
    if isinstance(value, int):
        height = width = value
    elif isinstance(value, float):
        raise TypeError(f"{name} must be an int or (height, width), got {value}")
    elif len(value) == 2:
        height, width = value
    elif len(value) == 1:
        height = width = value[0]
    else:
        raise ValueError(f"{name} must be an int or (height, width), got {tuple(value)}")
    if not (0 <= height <= MAX_OUTPUT_SIZE and 0 <= width <= MAX_OUTPUT_SIZE):
        raise ValueError(f"{name} must be between 0 and {MAX_OUTPUT_SIZE}, got ({height}, {width})")
    return height, width


def check_scale(name: str, scale: float) -> None:
    """`scale` is finite and above 0; ValueError if not."""
    if not 0 < scale < math.inf:
        raise ValueError(f"{name} must be finite and above 0, got {scale}")


def check_sampling(sampling_ratio: int) -> None:
    """At most 65535 samples per bin and axis; 0 and below mean adaptive; ValueError if not."""
    if isinstance(sampling_ratio, float):
        raise TypeError(f"sampling_ratio must be an int, got {sampling_ratio}")
    if sampling_ratio > MAX_SAMPLING_RATIO:
        raise ValueError(
            f"sampling_ratio must be at most {MAX_SAMPLING_RATIO}, got {sampling_ratio}"
        )


def check_map(name: str, features: Tensor, rois: Tensor) -> None:
    """A map that boxes are read from has pixels; ValueError if not."""
    images, _, height, width = features.shape
    # the number of boxes is asked last: in a traced graph nobody knows it
    if (images == 0 or height == 0 or width == 0) and rois.shape[0]:
        raise ValueError(f"{name} has no pixels to read boxes from: {tuple(features.shape)}")


def check_device(name: str, tensor: Tensor, like: Tensor) -> None:
    """Both are in one place, where one kernel can read them; ValueError if not."""
    if tensor.device != like.device:
        raise ValueError(f"{name} is on {tensor.device}, expected {like.device} as the others")


_debug = False


def set_debug(on: bool) -> bool:
    """Switches checks of image indices on GPUs on or off; returns what was set before.

    Without them a row with a bad index gives zeros there, because looking at it would make the
    host wait for the GPU. On CPUs bad indices are always errors.
    """
    global _debug
    before, _debug = _debug, on
    return before


def as_rois(features: Tensor, boxes: Tensor | Sequence[Tensor]) -> Tensor:
    """(K, 5) float32 or float64 rows (image index, 4 box numbers) from a tensor or one per image.

    A list holds one (L_i, 4) tensor per image. Half precision and integers become float32
    (float64 where the features are), so that the image index and the corners stay exact.
    """
    if isinstance(boxes, Tensor):
        if boxes.dim() != 2 or boxes.shape[1] != 5:
            raise ValueError(
                "boxes must have shape (K, 5), rows (image index, box), or be a list of "
                f"(L, 4) tensors, one per image; got {tuple(boxes.shape)}"
            )
        rois = boxes
    else:
        rois = _concatenated(features, boxes)
    if rois.dtype.is_complex or rois.layout != torch.strided:
        raise TypeError(f"boxes must be dense and real, got {rois.dtype}, {rois.layout}")
    if rois.device != features.device:
        raise ValueError(f"boxes are on {rois.device}, features on {features.device}")
    if _debug and rois.device.type not in ("cpu", "meta"):
        image_indices(rois, features.shape[0])
    if rois.dtype is torch.float64 or rois.dtype is torch.float32:
        return rois
    wide = features.dtype is torch.float64 or not rois.dtype.is_floating_point
    return rois.to(torch.float64 if wide else torch.float32)


def _concatenated(features: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """(K, 5) from one (L_i, 4) tensor per image."""
    if not isinstance(boxes, Sequence):
        raise TypeError(f"boxes must be a tensor or a list of tensors, got {type(boxes).__name__}")
    if len(boxes) > features.shape[0]:
        raise ValueError(f"boxes has {len(boxes)} entries for {features.shape[0]} images")
    for i, each in enumerate(boxes):
        if not isinstance(each, Tensor) or each.dim() != 2 or each.shape[1] != 4:
            shape = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
            raise ValueError(f"boxes[{i}] must have shape (L, 4), got {shape}")
    if not boxes:
        return features.new_zeros((0, 5), dtype=torch.float32)
    wide = any(each.dtype is torch.float64 or not each.dtype.is_floating_point for each in boxes)
    dtype = torch.float64 if wide else torch.float32
    rows = torch.cat([each.to(dtype) for each in boxes])
    indices = [rows.new_full((each.shape[0], 1), i) for i, each in enumerate(boxes)]
    return torch.cat([torch.cat(indices), rows], dim=1)
