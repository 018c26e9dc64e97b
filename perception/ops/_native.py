"""The compiled kernels: loaded if they are there; otherwise one clear notice says why not.

PERCEPTION_NATIVE=off leaves them out, =required makes their absence an error. PERCEPTION_ISA=base
or avx2 asks for a narrower variant than the machine has. Other words are errors.
"""

from __future__ import annotations

import ctypes
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
LIBRARY = HERE / "libperception_ops.so"
NOTE = HERE / "native.json"  # written by the build
REBUILD = (
    "To get the native ops, install a C++ compiler and torch 2.11 or newer, then run "
    "`pip install --no-build-isolation .` in the sources, or in a checkout "
    "`python setup.py build_ext --inplace`."
)
MODES = ("auto", "off", "required")
VARIANTS = ("base", "avx2", "avx512")  # of the CPU kernels, the widest last


@dataclass(frozen=True)
class Status:
    """What serves the ops on this machine."""

    native: bool
    isa: str | None  # base, avx2 or avx512: the variant that runs
    cuda: tuple[str, ...]  # GPU architectures in the library
    why: str | None  # why something is missing


def load() -> Status:
    """Loads the library; warns once, or raises ImportError if it is required, where it cannot.

    Also ImportError for a value of PERCEPTION_NATIVE or PERCEPTION_ISA that is none.
    """
    mode = _word("PERCEPTION_NATIVE", MODES) or "auto"
    wanted = _word("PERCEPTION_ISA", VARIANTS)
    note = _note()
    if mode == "off":
        return Status(False, None, (), "PERCEPTION_NATIVE=off is set")
    try:
        if not LIBRARY.exists():
            raise OSError(note.get("why") or "the library was never built")
        torch.ops.load_library(str(LIBRARY))
        isa = ctypes.CDLL(str(LIBRARY)).perception_isa
    except OSError as error:
        why = str(error).splitlines()[0]
        if mode == "required":
            raise ImportError(f"perception.ops: no native ops: {why}. {REBUILD}") from error
        warnings.warn(
            f"perception.ops runs the PyTorch reference, which is slow: {why}. {REBUILD}",
            RuntimeWarning,
            stacklevel=2,
        )
        return Status(False, None, (), why)
    isa.restype = ctypes.c_char_p
    runs = isa().decode()
    if wanted is not None and VARIANTS.index(runs) < VARIANTS.index(wanted):
        warnings.warn(
            f"perception.ops: PERCEPTION_ISA={wanted} asks for more than this machine has; "
            f"{runs} runs.",
            RuntimeWarning,
            stacklevel=2,
        )
    return Status(True, runs, tuple(note.get("cuda") or ()), note.get("why"))


def _word(variable: str, words: tuple[str, ...]) -> str | None:
    """What an environment variable is set to, None if it is not or empty."""
    value = os.environ.get(variable)
    if value and value not in words:
        raise ImportError(
            f"perception.ops: {variable} is {value!r}, expected {', '.join(words[:-1])} or "
            f"{words[-1]}"
        )
    return value or None


def _note() -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(NOTE.read_text())
        return result
    except (OSError, ValueError):
        return {}


STATUS = load()


def backend() -> str:
    """'native' where the compiled kernels serve, 'reference' where plain PyTorch does."""
    return "native" if STATUS.native else "reference"
