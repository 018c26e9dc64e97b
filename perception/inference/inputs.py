"""What people hand to a model: paths, arrays, pictures, tensors, lists and folders of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import has_suffix, read_image
from perception.inference.sources import VIDEO_SUFFIXES, open_source
from perception.structures import Image

Pixels = NDArray[np.uint8]
_KINDS = "a path, an (H, W, 3) uint8 RGB array, a PIL image or a (3, H, W) uint8 tensor"
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


@dataclass(frozen=True)
class Given:
    """One image, read."""

    key: str
    pixels: Pixels  # (H, W, 3) RGB
    path: Path | None  # of its file

    @property
    def image(self) -> Image:
        """What a prediction keeps: the path where there is one, the pixels otherwise."""
        size = (self.pixels.shape[0], self.pixels.shape[1])
        return Image(size, path=self.path) if self.path else Image(size, pixels=self.pixels)


def opened(image: Any, key: str) -> Given:
    """An image of any kind, read; the errors of `pixels_of`."""
    pixels, key = pixels_of(image, key)
    if isinstance(image, (str, Path)):
        return Given(key, pixels, Path(image).expanduser())
    return Given(key, pixels, image.path if isinstance(image, Image) else None)


def pixels_of(image: Any, key: str) -> tuple[Pixels, str]:
    """The (H, W, 3) uint8 RGB pixels of one image of any kind, and its key (a file's stem).

    Raises:
        ValueError: an array, tensor or picture with other numbers or another shape.
        TypeError: none of these kinds.
        PerceptionError: a file that cannot be read.
    """
    if isinstance(image, np.ndarray):
        return _checked(image), key
    if isinstance(image, Image):
        return _checked(image.read()), key or (image.path.stem if image.path else "")
    if isinstance(image, (str, Path)):
        return read_image(Path(image).expanduser()), key or Path(image).stem
    if isinstance(image, torch.Tensor):
        return _of_tensor(image), key
    if hasattr(image, "mode") and hasattr(image, "convert"):  # PIL, without importing it
        if image.mode not in _MODES:
            raise ValueError(f"expected a PIL image of 8 bits per channel, got mode {image.mode}")
        return np.asarray(image.convert("RGB"), np.uint8), key
    raise TypeError(f"expected {_KINDS}, got {type(image).__name__}")


def many(images: Any) -> list[tuple[str, Any]] | None:
    """Keys and images of a list, a tuple, an (N, 3, H, W) tensor or a folder; None: one image.

    Keys that are empty are left to the file's stem.
    """
    if isinstance(images, (list, tuple)):
        return [("", image) for image in images]
    if isinstance(images, torch.Tensor) and images.ndim == 4:
        return [("", image) for image in images]
    if isinstance(images, (str, Path)):
        path = Path(images).expanduser()
        if path.is_file() and has_suffix(path.name, VIDEO_SUFFIXES):
            raise PerceptionError(path, "a video", do="Predict it with model.stream(path).")
        if path.is_dir():
            return list(open_source(path).images)
    return None


def each(images: Any) -> Iterator[tuple[str, Any]]:
    """Keys and images of anything that can be walked through, one by one: also videos.

    Raises:
        TypeError: a single image in memory, or nothing that can be walked through.
    """
    if isinstance(images, (str, Path)):
        source = open_source(Path(images))
        if source.fps is None:
            yield from source.images
        else:
            yield from ((key, read()) for key, read in source)
        return
    if isinstance(images, (np.ndarray, Image)) or not isinstance(images, Iterable):
        name = type(images).__name__
        raise TypeError(f"expected images one after the other (a list, a folder), got {name}")
    for image in images:
        yield "", image


def _of_tensor(image: torch.Tensor) -> Pixels:
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(
            f"expected a (3, H, W) uint8 RGB tensor, got {image.dtype} {tuple(image.shape)}"
        )
    return _checked(image.detach().cpu().permute(1, 2, 0).numpy())


def _checked(image: NDArray[Any]) -> Pixels:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}")
    if not image.size:
        raise ValueError(f"expected at least one pixel, got {image.shape}")
    return image
