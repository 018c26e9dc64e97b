"""Which number format a run computes in: `auto` is bfloat16 only where the hardware has it.

A processor without bfloat16 instructions computes it by conversion, about ten times slower than
float32 (measured on AVX2).
"""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from perception.errors import PerceptionError

AUTO = "auto"
SETTINGS = (AUTO, "32-true", "bf16-mixed", "16-mixed", "64-true")
_CPU_FLAGS = ("avx512_bf16", "amx_bf16")  # x86; ARM says bf16 in its Features
_CUDA_BF16 = (8, 0)  # compute capability of the first GPUs with bfloat16 units


@dataclass(frozen=True)
class Precision:
    """What is computed in, why, and whether this hardware is slow at it."""

    setting: str  # one of Lightning Fabric's: 32-true, bf16-mixed, 16-mixed, ...
    why: str
    slow: bool = False


def choose_precision(wanted: str, device: str) -> Precision:
    """The precision that `trainer.precision` asks for on `device` (cpu, cuda, mps).

    `auto` is bf16-mixed where bfloat16 is computed natively and 32-true elsewhere.

    Raises:
        PerceptionError: weights of half precision, or no precision at all.
    """
    wanted = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}.get(
        wanted, wanted
    )
    if wanted not in SETTINGS:
        raise PerceptionError(
            "trainer.precision",
            wanted,
            f"one of {', '.join(SETTINGS)}",
            "Weights stay float32: losses and boxes need it.",
        )
    native, why = native_bf16(device)
    if wanted == AUTO:
        return Precision("bf16-mixed" if native else "32-true", why)
    half = wanted.startswith("bf16") or (device == "cpu" and wanted.startswith("16"))
    return Precision(wanted, why if half and not native else "as set", half and not native)


def native_bf16(device: str) -> tuple[bool, str]:
    """Whether `device` (cpu, cuda, mps) has bfloat16 instructions, and by what that was seen."""
    if device == "cuda":
        capability = torch.cuda.get_device_capability()
        name = f"{torch.cuda.get_device_name()}, compute capability {capability[0]}.{capability[1]}"
        has = "has" if capability >= _CUDA_BF16 else "has no"
        return capability >= _CUDA_BF16, f"{name}, {has} bfloat16 units"
    if device != "cpu":
        return False, f"{device} is not known to compute bfloat16 natively"
    found = sorted(cpu_features() & {*_CPU_FLAGS, "bf16"})
    if found:
        return True, f"this CPU has {' and '.join(found)}"
    return False, f"this CPU has neither {' nor '.join(_CPU_FLAGS)}, bfloat16 would be slow"


def device_of(accelerator: str) -> str:
    """The device (cpu, cuda, mps) that Fabric takes for `trainer.accelerator`."""
    if accelerator in ("auto", "gpu"):
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    return accelerator


@functools.cache
def cpu_features() -> frozenset[str]:
    """The names that the operating system gives the CPU's instruction sets."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        return frozenset({"bf16"} if ended.stdout.strip() == "1" else ())
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    marker = "Features" if platform.machine() in ("aarch64", "arm64") else "flags"
    lines = [line for line in text.splitlines() if line.startswith(marker)]
    return frozenset(lines[0].partition(":")[2].split() if lines else ())
