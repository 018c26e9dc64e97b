"""Tiny ONNX detectors that always say the same, drawn by the tests."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def detector(path: Path, output: np.ndarray, size=(32, 64), meta=None) -> Path:
    """An ONNX file with an image of `size` as input whose output is (1, *output.shape)."""
    value = numpy_helper.from_array(output.astype(np.float32)[None], "value")
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *size])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, *output.shape])
    node = helper.make_node("Identity", ["value"], ["output"])
    graph = helper.make_graph([node], "constant", [image], [result], initializer=[value])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for key, text in (meta or {}).items():
        model.metadata_props.add(key=key, value=text)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def yolox_rows(*found, classes=2, size=(32, 64)):
    """(N, 5 + classes) output; `found`: (row, column, cx, cy, w, h, class, score) at stride 8."""
    columns = size[1] // 8
    cells = sum((size[0] // s) * (size[1] // s) for s in (8, 16, 32))
    rows = np.zeros((cells, 5 + classes))
    for row, column, cx, cy, w, h, label, score in found:
        place = rows[row * columns + column]
        place[:4] = cx / 8 - column, cy / 8 - row, np.log(w / 8), np.log(h / 8)
        place[4], place[5 + label] = 1.0, score
    return rows
