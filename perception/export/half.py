"""Weights as float16 in an ONNX graph that computes in float32 where nothing better is there."""

from __future__ import annotations

from typing import Any

import numpy as np

SMALLEST = 64  # numbers of a tensor that is worth it


def with_half_weights(model: Any) -> None:
    """Stores the large float32 weights of an `onnx.ModelProto` as float16, in place.

    A Cast follows each, which runtimes fold when they load the file: half the size, the speed of
    float32 on a CPU. Values beyond float16's range keep float32.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < SMALLEST or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name, half = tensor.name, f"{tensor.name}/half"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
