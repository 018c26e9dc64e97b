"""An exported file as a model: `perception.load("model.onnx")` predicts as the run does.

What the file computes: answers.py; what runs it: runtimes.py. Where images are resized first,
probabilities are resized back to their pixels and classes by the nearest pixel (a run resizes the
scores of all classes), so those numbers agree nearly, not exactly.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.inference.answers import SUFFIXES, output_names
from perception.inference.inputs import Given
from perception.inference.model import Model, Timing
from perception.inference.predicted import Predicted
from perception.inference.runtimes import Answers, Runtime, open_runtime
from perception.labels import LabelClass, LabelScheme
from perception.models.heads.boxes import BoxRules
from perception.structures import (
    Boxes,
    ClassesResult,
    MaskResult,
    Result,
    SemanticLabel,
    ValuesResult,
)
from perception.tasks import Kind

Sides = tuple[int, int]  # (height, width)
_DEFAULTS = {"name": "", "id": 0, "train_id": 255, "colour": (0, 0, 0)}


class ExportedModel(Model):
    """The model in a file that `perception export` wrote; it has no `network`.

    Args:
        runtime: what runs the file.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.facts = runtime, runtime.metadata
        self.size = _sides(self.facts["input"].get("size"))
        self.fixed = _sides(self.facts["input"].get("fixed"))
        self.task_facts: dict[str, dict[str, Any]] = self.facts["tasks"]
        self.schemes = {
            task: _scheme(facts)
            for task, facts in self.task_facts.items()
            if facts["kind"] == Kind.CLASSES
        }
        self.timing = Timing(0.0, 0.0, 0.0)

    @property
    def device(self) -> torch.device:
        """Where it takes images: the memory of the processor."""
        return torch.device("cpu")

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it predicts."""
        return tuple(self.task_facts)

    def _predict(self, images: Sequence[Given], tasks: Sequence[str] | None) -> list[Predicted]:
        """One run of the file per image: its batch may be fixed."""
        chosen = self._chosen(tasks)
        done = [self._one(given, chosen) for given in images]
        spent = np.mean([(t.pre, t.network, t.post) for _, t in done], axis=0).tolist()
        self.timing = Timing(*spent)
        return [prediction for prediction, _ in done]

    def _one(self, given: Given, chosen: Sequence[str]) -> tuple[Predicted, Timing]:
        started = time.perf_counter()
        laid = self._laid(given.pixels)
        prepared = time.perf_counter()
        answers = self.runtime.run(laid[None])
        ran = time.perf_counter()
        size = given.image.size
        inside = laid.shape[0], laid.shape[1]
        results = {task: self._result(task, answers, size, inside) for task in chosen}
        classes = {
            task: [row["name"] for row in self.task_facts[task]["classes"]]
            for task, result in results.items()
            if isinstance(result, Boxes)
        }
        prediction = Predicted(given.key, size, results=results, image=given.image, classes=classes)
        spent = (prepared - started, ran - prepared, time.perf_counter() - ran)
        return prediction, Timing(*(1e3 * seconds for seconds in spent))

    def _chosen(self, tasks: Sequence[str] | None) -> tuple[str, ...]:
        for task in tasks or ():
            if task not in self.task_facts:
                raise PerceptionError("task", task, f"one of {', '.join(self.tasks)}")
        return self.tasks if tasks is None else tuple(tasks)

    def _laid(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image at the size that the file takes."""
        size = self.size or self.fixed
        if size is not None and size != pixels.shape[:2]:
            shrink = size[0] < pixels.shape[0]
            method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, size[::-1], interpolation=method)  # type: ignore[assignment]
        return np.ascontiguousarray(pixels)

    def _result(self, task: str, answers: Answers, size: Sides, inside: Sides) -> Result:
        facts = self.task_facts[task]
        kind = Kind(facts["kind"])
        found = [answers[name] for name in facts["outputs"]]
        if kind is Kind.BOXES:
            return self._boxes(facts, found, size, inside)
        if kind is Kind.MASK:
            return MaskResult(_enlarged(found[0][0], size))
        if kind is Kind.VALUES:
            return ValuesResult(_enlarged(found[0][0], size), facts.get("unit", ""))
        ids, scheme = _enlarged(found[0][0], size, nearest=True), self.schemes[task]
        label = SemanticLabel(scheme.train_to_id[ids], scheme)
        return ClassesResult(label, _enlarged(found[1][0], size))

    def _boxes(
        self, facts: dict[str, Any], found: list[NDArray[Any]], size: Sides, inside: Sides
    ) -> Boxes:
        names = tuple(row["name"] for row in facts["classes"])
        if facts["suppressed"]:
            xyxy, score, label = (part[: facts["max_boxes"]] for part in found[:3])
            boxes = Boxes.of(xyxy, [names[i] for i in label.tolist()], score=score)
        else:
            kept = ("min_score", "nms_iou", "max_boxes", "suppression")
            rules = BoxRules(names, *(facts[name] for name in kept))
            boxes = rules.apply(torch.tensor(found[0][0]), torch.tensor(found[1][0]))
        scale = np.array([size[1] / inside[1], size[0] / inside[0]] * 2)
        xyxy = np.clip(boxes.xyxy * scale, 0, [size[1], size[0]] * 2)
        seen = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        return boxes.replace(xyxy=xyxy)[seen]


def is_exported(path: Path) -> bool:
    """Whether a path is named like a file that export writes."""
    return path.suffix.lower() in SUFFIXES


def load_exported(
    path: Path, *, device: str = "auto", threads: int = 0, providers: Sequence[str] | None = None
) -> ExportedModel:
    """The model in a file.

    Args:
        path: `.onnx`, `.xml` or `.pt2`.
        device: auto, cpu or cuda; OpenVINO also knows gpu and npu.
        threads: of the processor; 0: the runtime's own choice.
        providers: of ONNX Runtime, in order; None: by the device.

    Raises:
        PerceptionError: a missing package, or no file that `perception export` wrote.
    """
    runtime = open_runtime(path, device=device, threads=threads, providers=providers)
    facts = runtime.metadata
    try:
        kinds = {task: Kind(row["kind"]) for task, row in facts["tasks"].items()}
        for task, kind in kinds.items():
            expected = output_names(
                task, kind, suppressed=facts["tasks"][task].get("suppressed", False)
            )
            if tuple(facts["tasks"][task]["outputs"]) != expected:
                raise ValueError(f"outputs of {task}")
        return ExportedModel(runtime)
    except (KeyError, TypeError, ValueError) as error:
        raise PerceptionError(
            path, f"metadata without {error}", "what perception export writes"
        ) from error


def _scheme(facts: dict[str, Any]) -> LabelScheme:
    rows = [{**_DEFAULTS, **row} for row in facts["classes"]]
    return LabelScheme(
        str(facts.get("scheme", "")),
        tuple(
            LabelClass(
                str(r["name"]),
                int(r["id"]),
                int(r["train_id"]),
                tuple(r["colour"]),
                str(r.get("category", "")),
                int(r.get("category_id", 255)),
                bool(r.get("has_instances", False)),
                bool(r.get("ignore", False)),
            )
            for r in rows
        ),
    )


def _sides(value: Any) -> Sides | None:
    return None if value is None else (int(value[0]), int(value[1]))


def _enlarged(pixels: NDArray[Any], size: Sides, *, nearest: bool = False) -> NDArray[Any]:
    """(H, W) values at another size, half-pixel centres."""
    if pixels.shape == size:
        return pixels
    shrinks = size[0] < pixels.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if nearest:
        method = cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=method))
