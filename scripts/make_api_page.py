"""Writes docs/api.md from the docstrings of the public entry points; tests hold it up to date.

python scripts/make_api_page.py
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = """# Python API

Made by `scripts/make_api_page.py` from the docstrings; the examples are run by the tests.
"""

# Title, the objects that are documented, an example. `run` and `image` are paths that exist.
PARTS = (
    (
        "Loading and predicting",
        (
            "perception.load",
            "perception.experiments.load.load",
            "perception.inference.model.Model.predict",
            "perception.inference.model.Model.stream",
            "perception.inference.predicted.Predicted",
            "perception.structures.Prediction",
        ),
        """
import perception

model = perception.load(run, device="cpu")
prediction = model.predict(image)
assert prediction.road.shape == prediction.size  # probabilities, in original pixels
""",
    ),
    (
        "Evaluators",
        (
            "perception.evaluation.kitti_road.RoadEvaluator",
            "perception.evaluation.semantic.Confusion",
            "perception.evaluation.kitti_object.KittiObjectEvaluator",
            "perception.evaluation.voc.VocEvaluator",
            "perception.evaluation.coco.CocoEvaluator",
        ),
        """
import numpy as np

from perception.evaluation.semantic import Confusion

predicted, target = np.array([[0, 1], [1, 1]], np.uint8), np.array([[0, 1], [0, 255]], np.uint8)
scores = Confusion.zero(2).update(predicted, target).compute()
assert scores.iou.tolist() == [0.5, 0.5]  # 255 is ignored
""",
    ),
    (
        "Scoring files",
        ("perception.scoring.score",),
        """
from perception.scoring import BENCHMARKS

assert "kitti_road/perspective" in BENCHMARKS  # score("kitti_road/perspective", gt, maps)
""",
    ),
    (
        "Operators",
        ("perception.ops.nms", "perception.ops.roi_align", "perception.ops.box_iou"),
        """
import torch

from perception import ops

boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
kept = ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
assert kept.tolist() == [0, 2]
""",
    ),
)


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_part(*part) for part in PARTS)])


def _part(title: str, names: tuple[str, ...], example: str) -> str:
    rows = [f"## {title}\n", f"```python\n{example.strip()}\n```\n"]
    return "\n".join([*rows, *map(_entry, names)])


def _entry(name: str) -> str:
    thing = find(name)
    try:
        signature = re.sub(r" object at 0x[0-9a-f]+", "", str(inspect.signature(thing)))
    except (TypeError, ValueError):
        signature = "(...)"
    text = inspect.getdoc(thing) or ""
    lines = [f"{name.rpartition('.')[2]}{signature}", "", text]
    if inspect.isclass(thing):
        public = [(n, m) for n, m in vars(thing).items() if n[0] != "_" and callable(m)]
        lines += ["", *(f".{n}{_of(m)}" for n, m in public)]
    body = "\n".join(lines).rstrip()
    return f"### `{name}`\n\n```\n{body}\n```\n"


def _of(method: object) -> str:
    """The arguments and the first line of a method."""
    first = (inspect.getdoc(method) or "").split("\n")[0]
    return f"{inspect.signature(method)}  {first}" if inspect.isfunction(method) else f"  {first}"


def find(name: str) -> object:
    """The object of a dotted name."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            thing = getattr(thing, part)
        return thing
    raise ImportError(name)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
