"""What runs an exported file: ONNX Runtime, OpenVINO or torch. Images in, named answers out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.inference.answers import INPUT, KEY, SUFFIXES
from perception.inference.detectors import open_session

Answers = Mapping[str, NDArray[Any]]


class Runtime(Protocol):
    """An opened file."""

    path: Path
    metadata: dict[str, Any]

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """The answers by name, for (N, H, W, 3) uint8 RGB images."""
        ...


def open_runtime(
    path: Path, *, device: str = "auto", threads: int = 0, providers: Sequence[str] | None = None
) -> Runtime:
    """Opens a file by its suffix.

    Raises:
        PerceptionError: no such file, a missing package, another program's file, or no such device.
    """
    if not path.is_file():
        raise PerceptionError(path, "no such file", f"one of {', '.join(SUFFIXES)}")
    kind = SUFFIXES.get(path.suffix.lower())
    if providers is not None and kind != "onnx":
        raise PerceptionError("providers", f"{path.name}", "an .onnx file")
    if kind == "onnx":
        return OnnxRuntime(path, _providers(device, providers), threads)
    if kind == "openvino":
        return OpenVino(path, device, threads)
    if kind == "torch":
        return TorchProgram(path, device, threads)
    raise PerceptionError(path, "another kind of file", f"one of {', '.join(SUFFIXES)}")


def is_ours(path: Path) -> bool:
    """Whether an `.onnx` file was written by `perception export`."""
    session = open_session(path, 1, ["CPUExecutionProvider"])
    return KEY in (session.get_modelmeta().custom_metadata_map or {})


class OnnxRuntime:
    """An `.onnx` file; `providers` in order of preference."""

    def __init__(self, path: Path, providers: Sequence[str], threads: int = 0) -> None:
        self.path = path
        self.session = open_session(path, threads, providers)
        properties = self.session.get_modelmeta().custom_metadata_map or {}
        self.metadata = _read(path, properties.get(KEY))
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """The answers by name."""
        found = _asked(self.path, lambda: self.session.run(self.names, {INPUT: images}))
        return dict(zip(self.names, map(np.asarray, found), strict=True))


class OpenVino:
    """An `.xml` file with its `.bin`."""

    def __init__(self, path: Path, device: str = "auto", threads: int = 0) -> None:
        try:
            import openvino
        except ImportError:
            raise PerceptionError(
                path, "no package openvino", "", "pip install 'road-perception[openvino]'"
            ) from None
        self.path = path
        core = openvino.Core()
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}  # as the file was checked
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        name = "CPU" if device == "auto" else device.upper()
        try:
            model = core.read_model(path)
            written = model.get_rt_info(KEY).value if model.has_rt_info(KEY) else None
            self.compiled = core.compile_model(model, name, settings)
        except Exception as error:  # its own kinds
            raise PerceptionError(path, _line(error), f"an OpenVINO file for {name}") from error
        self.metadata = _read(path, written)
        self.outputs = {port.get_any_name(): port for port in self.compiled.outputs}

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """The answers by name."""
        found = _asked(self.path, lambda: self.compiled({INPUT: images}))
        return {name: np.asarray(found[port]) for name, port in self.outputs.items()}


class TorchProgram:
    """A `.pt2` file, a program that `torch.export` wrote."""

    def __init__(self, path: Path, device: str = "auto", threads: int = 0) -> None:
        import torch

        import perception.ops  # noqa: F401 - the program calls them

        self.path, self.device = path, torch.device("cpu")
        if device not in ("auto", "cpu"):
            raise PerceptionError("device", device, "auto or cpu for a .pt2 file")
        extra = {KEY: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:  # zip, JSON and torch each raise their own
            raise PerceptionError(path, _line(error), "a program of torch.export") from error
        written = extra[KEY]
        self.metadata = _read(path, written.decode() if isinstance(written, bytes) else written)
        self.module = program.module()
        tasks = self.metadata.get("tasks", {})
        self.names = [name for task in tasks.values() for name in task["outputs"]]
        if threads:
            torch.set_num_threads(threads)

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """The answers by name."""
        import torch

        with torch.no_grad():
            found = _asked(self.path, lambda: self.module(torch.from_numpy(images)))
        return {name: answer.numpy() for name, answer in zip(self.names, found, strict=True)}


def _providers(device: str, named: Sequence[str] | None) -> list[str]:
    if named is not None:
        return list(named)
    known: dict[str, list[str]] = {
        "auto": [],
        "cpu": ["CPUExecutionProvider"],
        "cuda": ["CUDAExecutionProvider"],
    }
    kind = device.partition(":")[0]
    if kind not in known:
        raise PerceptionError("device", device, f"one of {', '.join(known)}, or providers")
    return known[kind]


def _read(path: Path, written: str | None) -> dict[str, Any]:
    try:
        metadata = json.loads(written or "null")
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or "input" not in metadata or "tasks" not in metadata:
        raise PerceptionError(path, "no metadata", "a file that perception export wrote")
    return metadata


def _asked(path: Path, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # each runtime raises kinds of its own
        raise PerceptionError(path, _line(error), "an image that it takes") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
