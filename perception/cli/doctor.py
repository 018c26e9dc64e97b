"""`perception doctor`: what this installation can do, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(_: argparse.Namespace) -> int:
    """Prints one line per component; 1 if something is broken."""
    print(f"python      {platform.python_version()} on {platform.machine()}")
    for name in ("road-perception", "torch", "numpy", "opencv-python", "opencv-python-headless"):
        print(f"{name:<11} {_installed(name)}")
    print(f"ops         {_ops()}")
    return _check_opencv()


def _ops() -> str:
    """Whether the compiled ops serve, with which instruction set and GPUs, and if not why not."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same words stand in the line
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
    versions = {_installed(name) for name in ("opencv-python", "opencv-python-headless")}
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
