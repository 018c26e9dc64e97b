"""`perception doctor`: what this installation can do, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shutil
from pathlib import Path

from perception.processes import cores

OPENCV = ("opencv-python", "opencv-python-headless")
FORMATS = {  # and the instruction sets that compute them natively
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "int8 (VNNI)": {"avx512_vnni", "avx_vnni"},
}
EXTRAS = ("wandb", "cityscapesscripts", "onnx", "onnxruntime")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(_: argparse.Namespace) -> int:
    """Prints one line per component; 1 if something is broken."""
    print(f"python      {platform.python_version()} on {platform.machine()}, {platform.system()}")
    for name in ("road-perception", "torch", "numpy", *OPENCV):
        print(f"{name:<11} {_installed(name)}")
    for name, value in (
        ("device", _device()),
        ("cpu", _cpu()),
        ("memory", _memory()),
        ("ops", _ops()),
        ("extras", _extras()),
        ("video", _video()),
    ):
        print(f"{name:<11} {value}")
    return _check_opencv()


def _device() -> str:
    """What `device=auto` and `trainer.accelerator=auto` choose."""
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}, {torch.cuda.device_count()} in all"
    if torch.backends.mps.is_available():
        return "cpu (mps by accelerator=mps)"
    return f"cpu: torch {torch.__version__} sees no GPU"


def _cpu() -> str:
    """Instruction set, the number formats it computes natively, cores and threads."""
    import torch

    flags = _cpu_flags()
    formats = ", ".join(f"{n} {'native' if flags & by else 'slow'}" for n, by in FORMATS.items())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{capability}; {formats}; {cores()} cores, {torch.get_num_threads()} torch threads"


def _cpu_flags() -> set[str]:
    """Instruction sets as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    rows = (line.split(":")[1] for line in lines if line.startswith(("flags", "Features")))
    return {flag for row in rows for flag in row.split()}


def _memory() -> str:
    """Memory of the machine, and what is free."""
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(rows[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return "unknown"
    return f"{total:.1f} GiB, {free:.1f} free"


def _extras() -> str:
    """Optional packages and the program labelme."""
    found = {name: _installed(name) for name in EXTRAS}
    found["labelme (program)"] = shutil.which("labelme") or "not installed"
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _video() -> str:
    """Whether OpenCV decodes and encodes videos."""
    try:
        import cv2

        lines = [x.split(":") for x in cv2.getBuildInformation().splitlines() if "FFMPEG" in x]
    except (ImportError, AttributeError):
        return "no OpenCV"
    return f"FFmpeg {lines[0][1].strip() if lines else 'NO'}, through OpenCV"


def _ops() -> str:
    """Whether the compiled ops serve, with which instruction set and GPUs, and if not why not."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the line has the same words
        try:
            from perception.ops import _native
        except ImportError as error:
            return f"cannot be used: {error}"
    status = _native.STATUS
    if not status.native:
        return f"PyTorch reference (slow): {status.why}. {_native.REBUILD}"
    gpus = ", ".join(f"sm_{each}" for each in status.cuda)
    cuda = f"compiled for {gpus}" if gpus else f"not compiled: {status.why}"
    return f"native, CPU variant {status.isa}; CUDA kernels {cuda}"


def _check_opencv() -> int:
    """Both OpenCV wheels own the folder cv2; two versions of them break it."""
    versions = {_installed(name) for name in OPENCV}
    if "not installed" not in versions and len(versions) == 1:
        print(
            "cv2         both wheels are there: we ask for opencv-python, albumentations for "
            "opencv-python-headless; in one version they share the folder cv2 without harm"
        )
    versions.discard("not installed")
    try:
        import cv2

        cv2.imdecode  # noqa: B018
    except (ImportError, AttributeError) as error:
        print(
            f"cv2         broken: {error}. Reinstall opencv-python and opencv-python-headless "
            "in one version."
        )
        return 1
    if len(versions) > 1:
        print(
            f"cv2         two versions in one folder: {', '.join(sorted(versions))}. "
            "Pin both to one (constraints.txt does)."
        )
        return 1
    return 0


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
