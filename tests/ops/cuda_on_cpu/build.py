"""Compiles the CUDA kernels for the CPU: g++ and the thread model in `include/` stand in for nvcc.

    python tests/ops/cuda_on_cpu/build.py FOLDER [--flags "-fsanitize=address"]

The library that comes out registers the CUDA kernels for CPU tensors. Load it instead of the
native library (PERCEPTION_NATIVE=off, then `torch.ops.load_library`), and every op runs them: the
arithmetic, the indexing, the barriers and the host code of the GPU, without a GPU. What it cannot
show is speed, real concurrency and what nvcc makes of the code.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[2] / "perception" / "ops" / "csrc"
NAME = "libcuda_on_cpu.so"
FLAGS = [
    "-std=c++20",
    "-O1",
    "-fPIC",
    "-w",
    "-ffp-contract=off",
    "-DTORCH_TARGET_VERSION=0x020b000000000000",
]


def build(folder: Path, flags: Sequence[str] = (), kernels: Sequence[Path] = ()) -> Path:
    """The library below `folder`; compiled only if a source or a flag has changed.

    Args:
        folder: where libraries are kept.
        flags: further flags for g++.
        kernels: other .cu files than those of perception.ops.
    """
    command = [os.environ.get("CXX", "g++"), *FLAGS, *flags]
    folder = folder / fingerprint(command, kernels)
    library = folder / NAME
    if library.exists():
        return library
    rewritten = folder / "csrc"
    shutil.rmtree(folder, ignore_errors=True)
    for source in SOURCES.rglob("*"):
        if source.is_file():
            to = rewritten / source.relative_to(SOURCES)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(for_cpu(source.read_text()))
    includes = [
        f"-I{HERE / 'include'}",
        f"-I{rewritten}",
        f"-I{Path(torch.__file__).parent / 'include'}",
    ]
    for kernel in kernels:
        (rewritten / kernel.name).write_text(for_cpu(kernel.read_text()))
    units = [rewritten / kernel.name for kernel in kernels] or [
        unit for unit in sorted((rewritten / "cuda").glob("*.cu")) if unit.stem != "launch"
    ]
    jobs = {unit: folder / f"{unit.stem}.o" for unit in (*units, HERE / "fibers.cpp")}
    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
        list(
            pool.map(
                run,
                (
                    [*command, *includes, "-x", "c++", "-c", str(unit), "-o", str(made)]
                    for unit, made in jobs.items()
                ),
            )
        )
    run(
        [
            *command,
            "-shared",
            *map(str, jobs.values()),
            "-o",
            str(library) + ".tmp",
            f"-L{Path(torch.__file__).parent / 'lib'}",
            "-ltorch_cpu",
        ]
    )
    Path(str(library) + ".tmp").rename(library)
    return library


def for_cpu(text: str) -> str:
    """CUDA C++ as plain C++: launches, dynamic shared memory, the device ops are registered for."""
    text = text.replace(
        "STABLE_TORCH_LIBRARY_IMPL(perception, CUDA,", "STABLE_TORCH_LIBRARY_IMPL(perception, CPU,"
    )
    text = text.replace(
        "using torch::stable::accelerator::DeviceGuard;",
        "struct DeviceGuard { explicit DeviceGuard(int32_t) {} };",
    )
    text = text.replace("__CUDA_ARCH__", "900").replace("__CUDACC__", "CUDA_ON_CPU")
    text = re.sub(
        r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+|alignas\(\d+\)\s+)?(\w+)\s+(\w+)\[\];",
        r"\1* \2 = static_cast<\1*>(cuda_on_cpu::dynamic_shared());",
        text,
    )
    while (at := text.find("<<<")) >= 0:
        end = text.index(">>>", at)
        start = kernel_start(text, at)
        kernel, settings = text[start:at], text[at + 3 : end]
        launched = f'cuda_on_cpu::launch("{kernel}", {kernel}, {settings})'
        text = text[:start] + launched + text[end + 3 :]
    return text


def kernel_start(text: str, end: int) -> int:
    """Where the name (with template arguments) that ends before `end` begins."""
    at = end - 1
    if text[at] == ">":
        depth = 0
        while True:
            depth += {">": 1, "<": -1}.get(text[at], 0)
            if depth == 0:
                break
            at -= 1
        at -= 1
    while text[at].isalnum() or text[at] in "_:":
        at -= 1
    return at + 1


def fingerprint(command: list[str], kernels: Sequence[Path]) -> str:
    """Of everything that decides what the library does."""
    words = [*command, *map(str, kernels), torch.__version__]
    digest = hashlib.sha256("\0".join(words).encode())
    for folder in (SOURCES, HERE):
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flags", default="", help="further flags for g++")
    arguments = parser.parse_args()
    print(build(arguments.folder, arguments.flags.split()))
