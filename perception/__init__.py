"""Road, boxes and semantics from one network, with the benchmarks' own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from perception.inference.model import Model

from perception._version import __version__ as __version__


def load(run: Path | str, **options: Any) -> Model:
    """A trained run, ready to predict: `perception.load("runs/demo/...").predict(image)`.

    Options are those of `perception.experiments.load.load`. Torch is imported here, not before.
    """
    from perception.experiments.load import load as load_run

    return load_run(run, **options)
