"""Road, boxes and semantics from one network, with the benchmarks' own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from perception.inference.model import Model

__version__ = "0.1.0"


def load(run: Path | str, **options: Any) -> Model:
    """A trained run, ready to predict: `perception.load("runs/demo/...").predict(image)`.

    Options are those of `perception.inference.load.load`. Torch is imported here, not before.
    """
    from perception.inference.load import load as load_run

    return load_run(run, **options)
