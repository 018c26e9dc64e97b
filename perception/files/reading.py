"""Reading text, YAML and JSON; what is wrong with a file names the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from perception.errors import PerceptionError

_MAX_VALUES = 200_000  # of a YAML file with its aliases written out


def packaged(*parts: str) -> Path:
    """Path of a packaged data file or folder, e.g. `packaged("datasets", "camvid")`.

    In a checkout (editable install) the folders `conf`, `datasets` and `annotation` stand at the
    top; in a wheel below `perception/_data`.
    """
    here = Path(__file__).resolve().parents[1]
    for base in (here / "_data", here.parent):
        if (base / parts[0]).is_dir():
            return base.joinpath(*parts)
    raise PerceptionError(
        here / "_data" / parts[0],
        "no such folder",
        "packaged data",
        "Install road-perception again.",
    )


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, or a `PerceptionError` that names it."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PerceptionError(path, reason.lower(), "a readable file") from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped)."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PerceptionError(
            path,
            f"byte {error.object[error.start]:#04x} at offset {error.start}",
            "UTF-8 text",
            "Save the file as UTF-8.",
        ) from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file."""
    import yaml

    text = read_text(path)
    try:
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # PyYAML lets the errors of int(), float(), date() and of its own tables through
        problem = " ".join(str(error).split())[:300]
        raise PerceptionError(path, problem, "valid YAML") from error
    except RecursionError as error:
        raise PerceptionError(path, "tables within tables without end", "valid YAML") from error
    if _expanded(value, {}) > max(_MAX_VALUES, len(text)):
        raise PerceptionError(path, "aliases that expand without end", "values written out")
    return value


def _expanded(value: Any, known: dict[int, int]) -> int:
    """Values with every alias written out; `known` holds those of tables that were counted."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = sys.maxsize  # met again before it is counted: it holds itself
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(value)]


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of 4,300 digits
        raise PerceptionError(
            path, str(error), "valid JSON", "Correct or remove the file."
        ) from error
