"""Who labels for us: a run of ours or an exported detector, by the path that a user gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perception.inference.tiles import Predictor


def open_teacher(path: Path, classes: Mapping[str, str] | None = None) -> Predictor:
    """The run or the .onnx detector at `path`; `classes`: ours by theirs, None: all as they are."""
    from perception.inference.runtimes import is_ours

    if path.suffix.lower() == ".onnx" and not is_ours(path):
        from perception.inference.detectors import Detector

        return Detector(path, classes=classes)
    from perception.experiments.load import load
    from perception.inference.tiles import Renamed

    model = load(path)
    return model if classes is None else Renamed(model, classes)


def teacher_facts(path: Path) -> dict[str, Any]:
    """What a label's record says of its teacher: name, and SHA-256 of a file."""
    from perception.inference.teacher import file_facts

    return file_facts(path) if path.is_file() else {"teacher": str(path)}
