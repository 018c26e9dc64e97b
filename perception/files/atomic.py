"""Writing files whole or not at all.

What is written goes to a temporary file in the same folder, is synced and renamed, so that a reader
never sees half a file and a full disk never costs what was there before. The names of temporary
files begin with a dot and end in `.tmp`: nothing reads them as data. Those of processes that were
killed are removed by the next one that writes into their folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from perception.errors import PerceptionError

_HOST = hashlib.blake2s(platform.node().encode("utf-8", "replace"), digest_size=4).hexdigest()
_TEMPORARY = re.compile(r"\.~.*\.([0-9a-f]{8})-([0-9]+)-\w+\.\w+", re.DOTALL)  # host, process
_NAME_BYTES = 100  # of the file in the name of its temporary one
_STALE_SECONDS = 86_400  # a file this old has no writer, wherever that may have run
_STARTED = time.time()
_HANDLES = re.compile(r"/dev/fd|/proc/[0-9]+(/task/[0-9]+)?/fd")  # where /dev/stdout leads
_MAX_LINKS = 40
_swept: set[str] = set()  # folders that this process has looked through


@contextmanager
def atomic_path(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A temporary path, renamed to `path` when the block ends well, removed when not.

    A link is followed, the mode of a file that is replaced is kept. A device, a pipe or
    /dev/stdout is written into.

    Args:
        path: what is to be written; its folder is made.
        suffix: of the temporary file, for writers that go by it.

    Raises:
        PerceptionError: the folder cannot be written or the disk is full.
    """
    temporary = None
    try:
        target, stream = _destination(Path(path))
        folder = Path(tempfile.gettempdir()) if stream else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        temporary = _new_file(folder, target.name, suffix)
        yield temporary
        if stream:
            _copy_into(temporary, target)
        else:
            _move(temporary, target)
            temporary = None
    except OSError as error:
        raise PerceptionError(
            path,
            f"cannot write: {error.strerror or error}",
            "a writable file",
            "Free space or choose another folder; what stood there before is unchanged.",
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def atomic_open(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Like `open(path, mode)` for writing, but `path` appears whole or not at all."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, temporary.open(mode, encoding=encoding) as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; bytes of a file name that are not UTF-8 become escapes."""
    with atomic_open(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


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


# ---------------------------------------------------------------------------- where to


def _destination(path: Path) -> tuple[Path, bool]:
    """What is at the end of the links, and whether it is written into instead of replaced."""
    for _ in range(_MAX_LINKS):
        if _HANDLES.fullmatch(os.path.realpath(path.parent)):
            return path, True
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return path, False
    except ValueError as error:  # a null in the name
        raise OSError(errno.EINVAL, str(error)) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path, not stat.S_ISREG(mode)


def _copy_into(temporary: Path, target: Path) -> None:
    """Writes the bytes into a device, a pipe or an open file of this process."""
    own = target.name.isdecimal() and os.path.realpath(target.parent) in (
        "/dev/fd",
        f"/proc/{os.getpid()}/fd",
    )
    if own:  # opened by its name, a file that standard output goes to would be emptied
        sys.stdout.flush()
        sink = os.fdopen(os.dup(int(target.name)), "wb")
    else:
        sink = target.open("wb")
    with temporary.open("rb") as source, sink:
        shutil.copyfileobj(source, sink)


# ---------------------------------------------------------------------------- temporary files


def _new_file(folder: Path, name: str, suffix: str) -> Path:
    start = os.fsencode(name)[:_NAME_BYTES].decode("utf-8", "ignore")
    handle, path = tempfile.mkstemp(suffix, f".~{start}.{_HOST}-{os.getpid()}-", folder)
    os.close(handle)
    return Path(path)


def _move(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    _keep_owner_and_mode(temporary, target)
    temporary.replace(target)
    with suppress(OSError):  # some file systems refuse it; the file itself is whole
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _keep_owner_and_mode(temporary: Path, target: Path) -> None:
    """Those of the file that is replaced, where the file system has such things."""
    mode = 0o666 & ~_UMASK
    with suppress(OSError):
        old, new = target.stat(), temporary.stat()
        mode = old.st_mode & 0o777
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.chown(temporary, old.st_uid, old.st_gid)
    with suppress(OSError):
        temporary.chmod(mode)


def _sweep(folder: Path) -> None:
    """Removes the temporary files of dead processes, once for each folder."""
    name = str(folder.absolute())
    if name in _swept:
        return
    _swept.add(name)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and _is_stale(entry, match[1], int(match[2])):
                Path(entry.path).unlink(missing_ok=True)


def _is_stale(entry: os.DirEntry[str], host: str, process: int) -> bool:
    written = entry.stat(follow_symlinks=False).st_mtime
    if written < time.time() - _STALE_SECONDS:
        return True
    if host != _HOST:
        return False
    if process == os.getpid():  # a number that an earlier process had, as in containers
        return written < _STARTED
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # alive, but another user's
        return False
    return False


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _current_umask()
