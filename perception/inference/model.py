"""A trained model: an image in, a `Prediction` in original pixels out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.inference.inputs import Given, each, many, opened
from perception.inference.predicted import Predicted
from perception.labels import LabelScheme
from perception.models.heads.boxes import BoxHead
from perception.models.heads.dense import DenseOutput
from perception.models.multitask import MultiTask
from perception.structures import (
    Boxes,
    ClassesResult,
    Image,
    MaskResult,
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
        network: a `MultiTask` model, which stays reachable as `model.network`: a plain `nn.Module`.
        scheme: label scheme of the task semantic, None without one.
        schemes: label schemes by task, for networks with several tasks of that kind.
        size: (height, width) every image is resized to; None: its own size, padded to whole cells.
    """

    batch = 8  # images of a list or folder that share a forward pass

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
        self.timing = Timing(0.0, 0.0, 0.0)  # per image, of the last prediction

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

    @overload
    def predict(
        self,
        image: NDArray[Any] | Path | str | Image,
        *,
        key: str = "",
        tasks: Sequence[str] | None = None,
    ) -> Predicted: ...

    @overload
    def predict(self, image: Any, *, key: str = "", tasks: Sequence[str] | None = None) -> Any: ...

    def predict(
        self, image: Any, *, key: str = "", tasks: Sequence[str] | None = None
    ) -> Predicted | list[Predicted]:
        """What the model says about one image, or about each of several, in its own pixels.

        Args:
            image: a path, an (H, W, 3) uint8 RGB array, a PIL image, a (3, H, W) uint8 tensor or an
                `Image`; or a list of these, an (N, 3, H, W) tensor or a folder: then a list comes
                back. Neighbours of one size share a forward pass (at most `batch` at once).
            key: name of the result; the file's stem when it is left out.
            tasks: the heads to run; all by default.

        Raises:
            TypeError, ValueError: no image of these kinds.
            PerceptionError: a file that cannot be read, a task that the model does not have.
        """
        several = many(image)
        if several is None:
            return self._predict([opened(image, key)], tasks)[0]
        if key:
            raise ValueError("expected no key for several images, whose names are their own")
        return list(self._batches(iter(several), tasks, self.batch))

    __call__ = predict

    def stream(
        self, images: Any, *, tasks: Sequence[str] | None = None, batch: int = 1
    ) -> Iterator[Predicted]:
        """Predictions one after the other, as images come: nothing is kept.

        Args:
            images: anything that yields images as `predict` takes them, a folder or a video file.
            tasks: the heads to run; all by default.
            batch: largest number of images that wait for each other and share a forward pass.
        """
        if batch < 1:
            raise ValueError(f"expected batch of 1 or more, got {batch}")
        return self._batches(each(images), tasks, batch)

    def _batches(
        self, images: Iterator[tuple[str, Any]], tasks: Sequence[str] | None, batch: int
    ) -> Iterator[Predicted]:
        """Neighbours of one size, at most `batch`, go through the network together."""
        waiting: list[Given] = []
        for key, image in images:
            given = opened(image, key)
            if waiting and waiting[0].pixels.shape != given.pixels.shape:
                yield from self._predict(waiting, tasks)
                waiting = []
            waiting.append(given)
            if len(waiting) == batch:
                yield from self._predict(waiting, tasks)
                waiting = []
        if waiting:
            yield from self._predict(waiting, tasks)

    @torch.inference_mode()
    def _predict(self, images: Sequence[Given], tasks: Sequence[str] | None) -> list[Predicted]:
        """The predictions for images of one size, from one forward pass."""
        started = time.perf_counter()
        inputs = [self._input(given.pixels) for given in images]
        tensor, inside = torch.cat([tensor for tensor, _ in inputs]), inputs[0][1]
        prepared = time.perf_counter()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=False):
            outputs = self.network(tensor, tasks)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        ran = time.perf_counter()
        predictions = [
            self._decode(outputs, index, given.key, given.image, inside)
            for index, given in enumerate(images)
        ]
        spent = (prepared - started, ran - prepared, time.perf_counter() - ran)
        self.timing = Timing(*(1e3 * seconds / len(images) for seconds in spent))
        return predictions

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
        self, outputs: dict[str, Any], index: int, key: str, image: Image, inside: tuple[int, int]
    ) -> Predicted:
        """Head outputs → the prediction for image `index` of the batch, in original pixels."""
        results: dict[str, Result] = {}
        for task, output in outputs.items():
            head = self.network.head(task)
            one = _in_original_pixels(output, index, inside, image.size)
            dense = isinstance(one, DenseOutput) or not index
            decoded = head.decode(one) if dense else head.decode(one, index)
            results[task] = _RESULTS[head.kind](self, task, decoded, image.size, inside)
        heads = {task: self.network.head(task) for task in outputs}
        classes = {task: h.classes for task, h in heads.items() if isinstance(h, BoxHead)}
        return Predicted(key, image.size, results=results, image=image, classes=classes)


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


def _in_original_pixels(output: Any, index: int, inside: Sides, size: Sides) -> Any:
    """Scores of image `index` without the padding, in `size`; boxes know where it begins.

    Scores are resized, not decisions, so that a class is chosen once, in the pixels it is for.
    """
    if not isinstance(output, DenseOutput):
        if isinstance(getattr(output, "size", None), torch.Tensor):
            return output._replace(size=output.size.new_tensor(inside))
        return output
    logits = output.logits[index : index + 1, :, : inside[0], : inside[1]]
    if inside != size:
        shrinks = size[0] < inside[0]
        logits = F.interpolate(
            logits.float(), size, mode="bilinear", align_corners=False, antialias=shrinks
        )
    return DenseOutput(logits)
