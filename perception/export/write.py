"""Writing a model as a file of a format, with its metadata."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from perception.errors import PerceptionError
from perception.export.graph import Deployed, captured
from perception.export.metadata import describe
from perception.export.onnx_file import operators, to_onnx, unsupported, write_onnx
from perception.files import atomic_path
from perception.inference.answers import KEY, SUFFIXES
from perception.inference.model import Model

FORMATS = {kind: suffix for suffix, kind in SUFFIXES.items()}  # format -> suffix


@dataclass(frozen=True)
class Settings:
    """How a model is written."""

    format: str = "onnx"
    size: tuple[int, int] | None = None  # the only (height, width) it takes; None: any
    nms: bool = True  # suppression of boxes in the file
    half: bool = False  # weights as float16


@dataclass(frozen=True)
class Written:
    """What was written."""

    path: Path
    operators: dict[str, int]  # empty for torch
    unsupported: dict[str, list[str]]  # by runtime


def write_model(model: Model, path: Path, settings: Settings, *, run: str) -> Written:
    """Writes `model` at `path`, whole or not at all.

    Raises:
        PerceptionError: a missing package, or a network that the format cannot express.
    """
    network = model.network.cpu()
    deployed = Deployed(network)
    nms = settings.nms and settings.format != "torch"
    facts = describe(model, deployed.tasks, run=run, size=settings.size, nms=nms)
    facts["precision"] = "half" if settings.half else "float32"
    if settings.format == "torch":
        _write_torch(path, deployed, settings, facts)
        return Written(path, {}, {})
    graph = to_onnx(deployed, size=settings.size, nms=nms)
    found = operators(graph)
    if settings.format == "openvino":
        _write_openvino(path, graph, settings, facts)
    else:
        if settings.half:
            from perception.export.half import with_half_weights

            with_half_weights(graph)
        write_onnx(path, graph, facts)
    return Written(path, found, unsupported(set(found)))


def _write_torch(path: Path, deployed: Deployed, settings: Settings, facts: dict[str, Any]) -> None:
    if settings.half:
        raise PerceptionError("half", "format torch", "onnx or openvino")
    program = captured(deployed, settings.size)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={KEY: json.dumps(facts)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _write_openvino(path: Path, graph: Any, settings: Settings, facts: dict[str, Any]) -> None:
    try:
        import openvino
    except ImportError:
        raise PerceptionError(
            "format", "openvino, which is not installed", "", "pip install openvino"
        ) from None
    model = openvino.Core().read_model(graph.SerializeToString(), b"")
    model.set_rt_info(json.dumps(facts), KEY)
    partial = path.with_name(f".{path.stem}.partial.xml")
    try:  # two files: the .xml, which is opened, comes last
        openvino.save_model(model, partial, compress_to_fp16=settings.half)
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)
    finally:
        for left in (partial, partial.with_suffix(".bin")):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)
