"""A trained model: an image in, a `Prediction` in original pixels out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from perception.files import read_image
from perception.labels import LabelScheme
from perception.models.heads.dense import DenseOutput
from perception.models.multitask import MultiTask
from perception.structures import Image, Prediction, SemanticLabel

MULTIPLE = 32  # the coarsest stride: inputs are padded to whole cells


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one prediction."""

    pre: float  # reading aside: resizing, padding, copying to the device
    network: float  # encoder and heads
    post: float  # decoding to original pixels


class Model:
    """A multi-task network with what is needed to talk about its outputs.

    Args:
        network: a `MultiTask` model.
        scheme: label scheme of the semantic head, None without one.
        size: (height, width) every image is resized to; None: its own size, padded to whole cells.
    """

    def __init__(
        self,
        network: MultiTask,
        *,
        scheme: LabelScheme | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.network = network
        network.eval()
        self.scheme = scheme
        self.size = size
        self.timing = Timing(0.0, 0.0, 0.0)  # of the last prediction

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it predicts: any of road, boxes, semantic."""
        return self.network.tasks

    @torch.inference_mode()
    def predict(
        self,
        image: NDArray[np.uint8] | Path | str | Image,
        *,
        key: str = "",
        tasks: Sequence[str] | None = None,
    ) -> Prediction:
        """What the model says about one image, in its own pixels.

        Args:
            image: (H, W, 3) uint8 RGB, a path, or an `Image`.
            key: name of the result; the file's stem when it is left out.
            tasks: the heads to run; all by default.
        """
        pixels, key = pixels_of(image, key)
        started = time.perf_counter()
        tensor, inside = self._input(pixels)
        prepared = time.perf_counter()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=False):
            outputs = self.network(tensor, tasks)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        ran = time.perf_counter()
        prediction = self._decode(outputs, key, pixels.shape[:2], inside)
        ended = time.perf_counter()
        self.timing = Timing(*(1e3 * t for t in (prepared - started, ran - prepared, ended - ran)))
        return prediction

    def _input(self, pixels: NDArray[np.uint8]) -> tuple[torch.Tensor, tuple[int, int]]:
        """(1, 3, H, W) network input on the device, and the (height, width) inside its padding."""
        if self.size is not None and self.size != pixels.shape[:2]:
            shrink = self.size[0] < pixels.shape[0]
            method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, self.size[::-1], interpolation=method)  # type: ignore[assignment]
        height, width = pixels.shape[:2]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        if any(padding):
            tensor = F.pad(tensor.float(), padding, mode="replicate").to(torch.uint8)
        return tensor.to(self.device).contiguous(memory_format=torch.channels_last), (height, width)

    def _decode(
        self, outputs: dict[str, object], key: str, size: tuple[int, int], inside: tuple[int, int]
    ) -> Prediction:
        """Head outputs → `Prediction` of (height, width) `size`."""
        prediction = Prediction(key, size)
        outputs = {task: _in_original_pixels(o, inside, size) for task, o in outputs.items()}
        if "road" in outputs:
            road = self.network.head("road").decode(outputs["road"])
            prediction = replace(prediction, road=road)
        if "semantic" in outputs and self.scheme is not None:
            ids, score = self.network.head("semantic").decode(outputs["semantic"])
            semantic = SemanticLabel(self.scheme.train_to_id[ids], self.scheme)
            prediction = replace(prediction, semantic=semantic, semantic_score=score)
        if "boxes" in outputs:
            boxes = self.network.head("boxes").decode(outputs["boxes"])
            scale = np.array([size[1] / inside[1], size[0] / inside[0]] * 2)
            xyxy = np.clip(boxes.xyxy * scale, 0, [size[1], size[0]] * 2)
            boxes = boxes.replace(xyxy=xyxy)
            seen = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
            prediction = replace(prediction, boxes=boxes[seen])
        return prediction


def pixels_of(
    image: NDArray[np.uint8] | Path | str | Image, key: str
) -> tuple[NDArray[np.uint8], str]:
    """The (H, W, 3) uint8 RGB pixels of an image of any kind, and its key (a file's stem)."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}")
        return image, key
    if isinstance(image, Image):
        return image.read(), key
    return read_image(Path(image)), key or Path(image).stem


def _in_original_pixels(output: Any, inside: tuple[int, int], size: tuple[int, int]) -> Any:
    """Scores of every pixel without the padding, resized to `size`; other outputs as they are.

    Scores are resized, not decisions, so that a class is chosen once, in the pixels it is for.
    """
    if not isinstance(output, DenseOutput):
        return output
    logits = output.logits[..., : inside[0], : inside[1]]
    if inside != size:
        shrinks = size[0] < inside[0]
        logits = F.interpolate(
            logits.float(), size, mode="bilinear", align_corners=False, antialias=shrinks
        )
    return DenseOutput(logits)
