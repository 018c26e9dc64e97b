"""A run's folder belongs to one run, and to one process at a time.

The lock is the system's (released when the process ends, however that happens) on a file that says
which process holds it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from perception.errors import PerceptionError

OWN = (  # what a run writes into its folder
    "config.yaml",
    "data.json",
    "last.pt",
    "best.pt",
    "model.safetensors",
    "train.csv",
    "evaluation.csv",
    "evaluation.json",
    "report.html",
    "profile.json",
    "profile.txt",
)
LOCK = "run.lock"
_DEFAULT_NAME = re.compile(
    r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}"
)  # see run_dir in conf/config.yaml


@dataclass
class Claim:
    """A folder that this process has for itself until `release`."""

    folder: Path
    file: IO[str] | None = None
    made: bool = False  # the folder was made for this run

    def release(self) -> None:
        """Gives the folder back; one that was made for nothing goes."""
        if self.file is None:
            return
        with suppress(OSError):
            (self.folder / LOCK).unlink()
        self.file.close()
        self.file = None
        if self.made:
            with suppress(OSError):  # it holds something
                self.folder.rmdir()

    def clear(self) -> None:
        """Removes what an older run left; nothing else in the folder is touched."""
        for name in OWN:
            (self.folder / name).unlink(missing_ok=True)


def claim_new(folder: Path, *, default_name: bool = False, overwrite: bool = False) -> Claim:
    """Takes a folder for a new run.

    Args:
        folder: made where it is missing.
        default_name: nobody asked for this name, so that another one (-1, -2, ...) does as well.
        overwrite: the folder may hold a run; `Claim.clear` removes it.

    Raises:
        PerceptionError: it holds a run, another process uses it, or it cannot be written.
    """
    if default_name and _DEFAULT_NAME.fullmatch(folder.name):
        return _claim_default(folder)
    made = not folder.exists()
    _make(folder, exist_ok=True)
    claim = lock(folder, made=made)
    found = [name for name in OWN if (folder / name).exists()]
    if found and not overwrite:
        claim.release()
        raise PerceptionError(
            folder,
            f"a run ({', '.join(found[:3])})",
            "a new or empty folder",
            f"Go on with it: resume={folder}; or choose another run_dir, or add overwrite=true "
            "to remove it.",
        )
    return claim


def lock(folder: Path, *, made: bool = False) -> Claim:
    """Takes an existing folder.

    Raises:
        PerceptionError: another process uses it, or it cannot be written.
    """
    path = folder / LOCK
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise _cannot_write(folder, error) from error
        try:
            # POSIX locks are not inherited by forked loaders, which may outlive a killed run
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = " ".join(file.read().split()) or "another process"
            file.close()
            raise PerceptionError(
                folder,
                f"in use by {holder}",
                "a folder that no other run writes into",
                "Wait until that run has ended, or choose another run_dir.",
            ) from error
        if _is_same(file, path):
            break
        file.close()  # its holder has just removed it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()
    return Claim(folder, file, made)


# ---------------------------------------------------------------------------- helpers


def _claim_default(folder: Path) -> Claim:
    """Takes the first of folder, folder-1, folder-2, ... that is not there yet."""
    number = 0
    while True:
        chosen = folder if number == 0 else folder.with_name(f"{folder.name}-{number}")
        try:
            _make(chosen, exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        return lock(chosen, made=True)


def _make(folder: Path, *, exist_ok: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError as error:
        if not exist_ok and folder.is_dir():
            raise
        raise _cannot_write(folder, error) from error
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> PerceptionError:
    return PerceptionError(
        folder / "config.yaml",
        f"cannot write: {error.strerror or error}",
        "a writable file",
        "Choose another run_dir.",
    )


def _is_same(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
