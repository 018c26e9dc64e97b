"""Writing a model as one ONNX file, with everything a program needs to know in its metadata."""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from perception.errors import PerceptionError
from perception.export.graph import Deployed, captured, suppresses
from perception.export.suppression import add_suppression
from perception.files import atomic_path
from perception.inference.answers import INPUT, KEY
from perception.models.heads.boxes import BoxHead

OPSET = 18
# of opset 18 in what is exported; source: onnx-tensorrt's docs/operators.md (TensorRT 10) and
# OpenVINO's page "Supported Operations, ONNX" (2025)
NOT_IN_TENSORRT = frozenset({"Bernoulli", "DeformConv", "DynamicQuantizeLinear", "Unique"})
NOT_IN_OPENVINO = frozenset({"MaxRoiPool", "Optional", "StringNormalizer"})


def to_onnx(deployed: Deployed, *, size: tuple[int, int] | None, nms: bool = True) -> Any:
    """An `onnx.ModelProto` of the graph, batch norms folded.

    Args:
        deployed: the network with its decoding.
        size: (height, width) of every image; None: any size and number of images.
        nms: adds suppression of overlapping boxes; else all candidates are answers.

    Raises:
        PerceptionError: a head has no translation to ONNX, or a package is missing.
    """
    needs_onnx()
    from perception.ops.onnx import translations

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = captured(deployed, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(deployed.names),
                verbose=False,
                custom_translation_table=translations(),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:200]
        raise PerceptionError("export", reason, "heads that ONNX can express") from error
    assert written is not None
    model = written.model_proto
    if size is None:
        _name_dimensions(model)
    for task in deployed.tasks:
        head = deployed.network.head(task)
        if isinstance(head, BoxHead) and suppresses(head, nms):
            add_suppression(model, task, head.rules)
    return model


def write_onnx(path: Path, model: Any, metadata: dict[str, Any]) -> None:
    """Writes the file whole, `metadata` as JSON in its property `perception`."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def operators(model: Any) -> dict[str, int]:
    """How often each operator is in the graph, the most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def unsupported(names: set[str]) -> dict[str, list[str]]:
    """By runtime, the operators that it does not have; empty: it runs the file."""
    from onnx import defs

    missing = {
        "ONNX Runtime": [n for n in sorted(names) if not defs.has(n)],
        "TensorRT": sorted(names & NOT_IN_TENSORRT),
        "OpenVINO": sorted(names & NOT_IN_OPENVINO),
    }
    return {runtime: found for runtime, found in missing.items() if found}


def needs_onnx() -> None:
    """Raises a `PerceptionError` where the packages of the extra `export` are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PerceptionError(
            "export", f"no package {error.name}", "", "pip install 'road-perception[export]'"
        ) from None


def _name_dimensions(model: Any) -> None:
    """Readable names for the dimensions of inputs and outputs: images, height, width."""
    shape = model.graph.input[0].type.tensor_type.shape
    names = {
        dim.dim_param: name
        for dim, name in zip(shape.dim, ("images", "height", "width"), strict=False)
    }
    for number, value in enumerate([*model.graph.input, *model.graph.output]):
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, f"size_{number}_{place}")
    del model.graph.value_info[:]
