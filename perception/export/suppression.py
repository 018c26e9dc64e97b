"""Suppression of overlapping boxes as a part of an ONNX graph.

The network's candidates (N, M, 4) and scores (N, M, K) become D detections of all images, the best
first: `boxes` (D, 4), `scores` (D,), `labels` (D,), `image_index` (D,). It equals `BoxRules.apply`
but for two limits: `max_boxes` is per class here, and whoever reads the file cuts each image's; and
all boxes enter, not the best thousand of a class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from perception.inference.answers import output_names
from perception.models.heads.boxes import BoxRules
from perception.tasks import Kind


def add_suppression(model: Any, task: str, rules: BoxRules) -> None:
    """Replaces the candidates of a box task by its detections, in place.

    model: an `onnx.ModelProto` whose outputs include `<task>` and its scores.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    boxes, scores, labels, images = output_names(task, Kind.BOXES, suppressed=True)
    raw = {boxes: f"{task}/candidates", scores: f"{task}/candidate_scores"}
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [raw.get(name, name) for name in field]
    constants: dict[str, np.ndarray[Any, Any]] = {
        "iou": np.array([rules.nms_iou], np.float32),
        "min_score": np.array([rules.min_score], np.float32),
        "most": np.array([rules.max_boxes], np.int64),
        "minus_one": np.array([-1], np.int64),
        "one": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
        "columns_image_box": np.array([0, 2], np.int64),
        "axis": np.array(1, np.int64),
        "image": np.array(0, np.int64),
        "class": np.array(1, np.int64),
        "row_order": np.array([0, 2, 1], np.int64),
    }
    named = {name: f"{task}/{name}" for name in constants}
    graph.initializer.extend(
        numpy_helper.from_array(value, named[name]) for name, value in constants.items()
    )
    made = _Nodes(task, graph, helper)
    by_class = made.node("Transpose", [raw[scores]], perm=[0, 2, 1])
    # (S, 3) image, class, box; empty boxes score 0 and are never chosen
    chosen = made.node(
        "NonMaxSuppression", [raw[boxes], by_class, named["most"], named["iou"], named["min_score"]]
    )
    found = made.node("GatherND", [by_class, chosen])
    count = made.node("Shape", [found])
    best, order = made.nodes("TopK", [found, count], 2, axis=0, largest=1, sorted=1)
    chosen = made.node("Gather", [chosen, order], axis=0)
    place = made.node("Gather", [chosen, named["columns_image_box"]], axis=1)
    made.node("GatherND", [raw[boxes], place], out=boxes)
    made.node("Identity", [best], out=scores)
    made.node("Gather", [chosen, named["class"]], out=labels, axis=1)
    made.node("Gather", [chosen, named["image"]], out=images, axis=1)
    kept = [value for value in graph.output if value.name not in (boxes, scores)]
    del graph.output[:]
    number = f"{task}/detections"
    graph.output.extend(
        [
            *kept,
            helper.make_tensor_value_info(boxes, TensorProto.FLOAT, [number, 4]),
            helper.make_tensor_value_info(scores, TensorProto.FLOAT, [number]),
            helper.make_tensor_value_info(labels, TensorProto.INT64, [number]),
            helper.make_tensor_value_info(images, TensorProto.INT64, [number]),
        ]
    )
    onnx.checker.check_model(model)


class _Nodes:
    """Adds nodes to a graph and names their outputs."""

    def __init__(self, prefix: str, graph: Any, helper: Any) -> None:
        self.prefix, self.graph, self.helper, self.count = prefix, graph, helper, 0

    def node(self, kind: str, inputs: list[str], out: str = "", **attributes: Any) -> str:
        """A node of one output; its name."""
        return self.nodes(kind, inputs, 1, out, **attributes)[0]

    def nodes(
        self, kind: str, inputs: list[str], outputs: int, out: str = "", **attributes: Any
    ) -> list[str]:
        """A node of several outputs; their names."""
        self.count += 1
        names = [f"{self.prefix}/{kind}_{self.count}_{i}" for i in range(outputs)]
        if out:
            names = [out]
        self.graph.node.append(self.helper.make_node(kind, inputs, names, **attributes))
        return names
