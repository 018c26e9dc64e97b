"""The JSON file of `perception score`: protocol, scores, and the record of every image.

The records make `perception compare` possible long after the images are gone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from perception._version import __version__
from perception.errors import PerceptionError
from perception.evaluation.benchmark import Benchmark
from perception.evaluation.catalog import create
from perception.evaluation.run import Outcome
from perception.files import plain, read_json, write_text

FORMAT = 1


@dataclass(frozen=True)
class StoredOutcome:
    """A score read back from its file."""

    path: Path
    benchmark: Benchmark[Any, Any]
    keys: tuple[str, ...]  # of the images, in order
    records: tuple[Any, ...]
    headline: Mapping[str, float]  # NaN where undefined


def write_outcome(
    path: Path,
    outcome: Outcome,
    intervals: Mapping[str, tuple[float, float]],
    *,
    draws: int = 0,
    seed: int = 0,
) -> None:
    """Writes everything atomically; one line per image."""
    benchmark = outcome.benchmark
    names = [f.name for f in fields(benchmark) if f.name != "name"]
    options = {name: getattr(benchmark, name) for name in names}
    head = {
        "format": FORMAT,
        "benchmark": benchmark.name,
        "made_by": f"road-perception {__version__}",
        "protocol": asdict(benchmark.protocol),
        "options": options,
        "num_images": len(outcome.jobs),
        "files": outcome.inventory or None,
        "left_out": outcome.left_out or None,
        "headline": outcome.result.headline,
        "intervals": intervals,
        "bootstrap": {"draws": draws, "seed": seed} if draws else None,
        "notes": outcome.result.notes,
        "scores": outcome.result.values,
    }
    lines = [
        json.dumps(
            plain({"key": job.key, "scores": scores, "record": benchmark.encode(record)}),
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for job, record, scores in zip(
            outcome.jobs, outcome.records, benchmark.each_image(outcome.records), strict=True
        )
    ]
    text = json.dumps(plain(head), ensure_ascii=False, indent=2)
    write_text(path, text[:-2] + ',\n  "images": [\n' + ",\n".join(lines) + "\n  ]\n}\n")


def read_outcome(path: Path) -> StoredOutcome:
    """Reads what `write_outcome` wrote.

    Raises:
        PerceptionError: the file is no score, or one of another version of its protocol.
    """
    content = read_json(path)
    try:
        if content["format"] != FORMAT:
            raise _refuse(path, f"format {content['format']}", f"format {FORMAT}")
        name = content.get("benchmark", content["protocol"]["name"])
        benchmark = create(name, content["options"])
        ours = plain(asdict(benchmark.protocol))
        if ours != content["protocol"]:
            raise _refuse(path, f"{_short(content['protocol'])}", f"{_short(ours)} of this program")
        images = content["images"]
        return StoredOutcome(
            Path(path),
            benchmark,
            tuple(_text(one["key"]) for one in images),
            tuple(benchmark.decode(one["record"]) for one in images),
            {k: math.nan if v is None else float(v) for k, v in content["headline"].items()},
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise _refuse(
            path, f"no score ({type(error).__name__}: {error})", "a file of `score --json`"
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"image {str(value)[:80]}")
    return value


def _short(protocol: Mapping[str, Any]) -> str:
    return f"{protocol['name']} version {protocol['version']} {protocol['parameters']}"


def _refuse(path: Path, found: str, expected: str) -> PerceptionError:
    return PerceptionError(
        path, found, expected, "Write it again with `perception score ... --json`."
    )
