"""A trained model: an image in, a `Prediction` in original pixels out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.files import read_image
from perception.labels import LabelScheme
from perception.models.heads.dense import DenseOutput
from perception.models.multitask import MultiTask
from perception.structures import (
    Boxes,
    ClassesResult,
    Image,
    MaskResult,
    Prediction,
    Result,
    SemanticLabel,
    ValuesResult,
    by_task,
)
from perception.tasks import Kind

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
        scheme: label scheme of the task semantic, None without one.
        schemes: label schemes by task, for networks with several tasks of that kind.
        size: (height, width) every image is resized to; None: its own size, padded to whole cells.
    """

    def __init__(
        self,
        network: MultiTask,
        *,
        scheme: LabelScheme | None = None,
        schemes: Mapping[str, LabelScheme] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.network = network
        network.eval()
        self.schemes = by_task(schemes, {"semantic": scheme} if scheme else {})
        self.size = size
        self.timing = Timing(0.0, 0.0, 0.0)  # of the last prediction

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def scheme(self) -> LabelScheme | None:
        """The label scheme of the task semantic."""
        return self.schemes.get("semantic")

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it predicts: the names of its heads."""
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
        self, outputs: dict[str, Any], key: str, size: tuple[int, int], inside: tuple[int, int]
    ) -> Prediction:
        """Head outputs → `Prediction` of (height, width) `size`."""
        results: dict[str, Result] = {}
        for task, output in outputs.items():
            head = self.network.head(task)
            decoded = head.decode(_in_original_pixels(output, inside, size))
            results[task] = _RESULTS[head.kind](self, task, decoded, size, inside)
        return Prediction(key, size, results=results)


Sides = tuple[int, int]  # (height, width)


def _mask(_: Model, __: str, decoded: Any, ___: Sides, ____: Sides) -> Result:
    return MaskResult(decoded)


def _classes(model: Model, task: str, decoded: Any, _: Sides, __: Sides) -> Result:
    if task not in model.schemes:
        raise PerceptionError(f"task {task}", "no label scheme", "the one that it was trained with")
    scheme, (ids, score) = model.schemes[task], decoded
    return ClassesResult(SemanticLabel(scheme.train_to_id[ids], scheme), score)


def _values(model: Model, task: str, decoded: Any, _: Sides, __: Sides) -> Result:
    return ValuesResult(decoded, model.network.head(task).unit)


def _boxes(_: Model, __: str, decoded: Any, size: Sides, inside: Sides) -> Result:
    scale = np.array([size[1] / inside[1], size[0] / inside[0]] * 2)
    xyxy = np.clip(decoded.xyxy * scale, 0, [size[1], size[0]] * 2)
    seen = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    boxes: Boxes = decoded.replace(xyxy=xyxy)[seen]
    return boxes


# model, task, what the head decoded, size of the image and of the network's input → result
_RESULTS: dict[Kind, Callable[[Model, str, Any, Sides, Sides], Result]] = {
    Kind.MASK: _mask,
    Kind.CLASSES: _classes,
    Kind.VALUES: _values,
    Kind.BOXES: _boxes,
}


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
    """Scores of every pixel without the padding, resized to `size`; boxes know where it begins.

    Scores are resized, not decisions, so that a class is chosen once, in the pixels it is for.
    """
    if not isinstance(output, DenseOutput):
        if isinstance(getattr(output, "size", None), torch.Tensor):
            return output._replace(size=output.size.new_tensor(inside))
        return output
    logits = output.logits[..., : inside[0], : inside[1]]
    if inside != size:
        shrinks = size[0] < inside[0]
        logits = F.interpolate(
            logits.float(), size, mode="bilinear", align_corners=False, antialias=shrinks
        )
    return DenseOutput(logits)
