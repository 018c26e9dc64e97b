"""Writing files whole or not at all.

Everything written goes to a temporary name in the same folder, is synced and renamed, so that a
reader never sees half a file and a full disk never costs what was there before.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from perception.errors import PerceptionError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, removed when not.

    Raises:
        PerceptionError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name[:80]}.", suffix=path.suffix, dir=path.parent
        )
        os.fchmod(handle, 0o666 & ~_UMASK)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise PerceptionError(
            path,
            f"cannot write: {error.strerror or error}",
            "a writable file",
            "Free space or choose another folder; what stood there before is unchanged.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Like `open(path, mode)` for writing, but `path` appears whole or not at all."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, temporary.open(mode, encoding=encoding) as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_open(path, "w") as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Writes JSON atomically; NaN becomes null, numpy values plain numbers and lists."""
    write_text(path, json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")


def plain(value: object) -> Any:
    """JSON-ready copy: numpy to Python, Path to str, NaN and infinities to None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _current_umask()
