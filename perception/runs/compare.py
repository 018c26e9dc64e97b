"""Two runs' `evaluation.json` side by side: scores without a verdict on noise.

A run's record holds the scores of every frame, not the counts that they are made of, so that sets
of frames cannot be drawn again; `perception score --json` files can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.errors import PerceptionError
from perception.files import read_json


@dataclass(frozen=True)
class RunScores:
    """What a run's record says."""

    path: Path
    metrics: Mapping[str, float]  # those that are defined
    frames: Mapping[str, frozenset[str]]  # by data set
    protocols: Mapping[str, Any]  # by data set


def is_run_record(content: Any) -> bool:
    """Whether a JSON value is an `evaluation.json`."""
    return isinstance(content, dict) and {"metrics", "sets", "checkpoint"} <= content.keys()


def read_run_scores(path: Path) -> RunScores:
    """The scores of a run's `evaluation.json`.

    Raises:
        PerceptionError: a value is not what `perception evaluate` writes.
    """
    content = read_json(path)
    try:
        metrics = {str(k): float(v) for k, v in content["metrics"].items() if v is not None}
        sets = content["sets"].items()
        return RunScores(
            Path(path),
            metrics,
            {name: frozenset(one["scores"]) for name, one in sets},
            {name: one["protocols"] for name, one in sets},
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise PerceptionError(
            path,
            f"no record of a run ({type(error).__name__}: {error})",
            "evaluation.json of `perception evaluate`",
        ) from error


def check_same(first: RunScores, second: RunScores) -> None:
    """Raises a `PerceptionError` where two records are not of the same frames and protocols."""
    shared = sorted(set(first.frames) & set(second.frames))
    if not shared:
        raise PerceptionError(
            second.path, f"data sets {sorted(second.frames)}", f"some of {sorted(first.frames)}"
        )
    for name in shared:
        odd = first.frames[name] ^ second.frames[name]
        if odd:
            raise PerceptionError(
                f"{second.path}: {name}",
                f"{len(odd):,} frames that only one record has, e.g. {min(odd)}",
                f"the {len(first.frames[name]):,} frames of {first.path}",
            )
        if first.protocols[name] != second.protocols[name]:
            raise PerceptionError(
                f"{second.path}: {name}", "other protocols", f"those of {first.path}"
            )
