"""Builds the wheel: the native ops where the machine can, and the data folders.

The ops (`perception/ops/csrc`) become one shared library on PyTorch's stable ABI. It has no Python
symbol, so it is compiled here by g++ and nvcc directly: torch's own extension helpers need an
importable torch, and on a machine with a CPU build of torch they refuse CUDA sources.

    pip install .                               builds what the machine can
    python setup.py build_ext --inplace         builds into the working tree
    PERCEPTION_NATIVE=required | auto | off     a failing build is an error | a notice | not tried
    PERCEPTION_TORCH=FOLDER                     the torch package to build against
    PERCEPTION_CUDA_ARCHS="80;90"               GPU architectures instead of the default list
    PERCEPTION_CXXFLAGS="-fsanitize=address"    further flags for g++ (compiling and linking)
    MAX_JOBS=2                                  compiler processes at a time
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools below 70.1
    from wheel.bdist_wheel import bdist_wheel

DATA_FOLDERS = ("conf", "datasets", "annotation")
OPS = Path("perception") / "ops"
LIBRARY = "libperception_ops.so"
NOTE = "native.json"  # what was built, and why something was not; read by `perception doctor`

CUDA_ARCHS = "80;90;100"  # machine code for each, and PTX of the last for what comes after
MINIMUM_TORCH = "0x020b000000000000"  # 2.11: only symbols that it has are used
COMMON = ["-std=c++20", "-O3", f"-DTORCH_TARGET_VERSION={MINIMUM_TORCH}"]
# No contraction: a product and a sum become one rounding only where a kernel says so.
CXX = [
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-psabi",
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
]
ISAS = {
    "base": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mf16c"],
}


class NotBuiltError(Exception):
    """Why the native ops cannot be built; one line."""


@dataclass(frozen=True)
class Job:
    """One compiler call."""

    source: Path
    object: Path
    command: list[str]


class BuildNative(build_ext):
    """`build_ext` that makes the shared library with g++ and nvcc, or says why not."""

    def get_source_files(self) -> list[str]:
        return [str(path) for path in sorted((OPS / "csrc").rglob("*")) if path.is_file()]

    def get_outputs(self) -> list[str]:
        files = (Path(self.build_lib) / OPS / name for name in (LIBRARY, NOTE))
        return [str(path) for path in files if path.exists()]

    def get_output_mapping(self) -> dict[str, str]:
        outputs = self.get_outputs() if self.inplace else []
        return {path: str(OPS / Path(path).name) for path in outputs}

    def copy_extensions_to_source(self) -> None:
        for name in (LIBRARY, NOTE):
            built, source = Path(self.build_lib) / OPS / name, OPS / name
            if built.exists():
                shutil.copyfile(built, source.with_suffix(".tmp"))
                source.with_suffix(".tmp").replace(source)
            else:
                source.unlink(missing_ok=True)

    def build_extension(self, _: Extension) -> None:
        target = Path(self.build_lib) / OPS / LIBRARY
        mode = os.environ.get("PERCEPTION_NATIVE", "auto")
        if mode not in ("auto", "required", "off"):
            raise SystemExit(f"PERCEPTION_NATIVE: found {mode!r}, expected required, auto or off.")
        try:
            if mode == "off":
                raise NotBuiltError("PERCEPTION_NATIVE=off was set when it was built")
            note = self._build(target)
        except NotBuiltError as error:
            if mode == "required":
                raise SystemExit(f"native ops: {error} (PERCEPTION_NATIVE=required)") from None
            target.unlink(missing_ok=True)
            note = {"cpu": None, "cuda": None, "why": str(error)}
            print(
                f"native ops: not built, the PyTorch reference will serve: {error}", file=sys.stderr
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_name(NOTE).write_text(json.dumps(note, indent=2) + "\n")

    def _build(self, target: Path) -> dict[str, object]:
        torch = torch_folder()
        compiler = shutil.which(os.environ.get("CXX", "g++"))
        if compiler is None:
            raise NotBuiltError("no C++ compiler (g++) on this machine")
        nvcc, no_cuda = find_nvcc()
        jobs = cpu_jobs(Path(self.build_temp), compiler, torch)
        if nvcc:
            jobs += cuda_jobs(Path(self.build_temp), nvcc, torch)
        fresh = compile_all(jobs)
        if fresh or not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(".tmp")
            link = [nvcc, "-shared", "-cudart", "static"] if nvcc else [compiler, "-shared"]
            link += extra_flags(nvcc) or (["-Xlinker", "-s"] if nvcc else ["-s"])  # no symbol table
            link += (str(job.object) for job in jobs)
            run([*link, "-o", str(temporary), f"-L{torch / 'lib'}", "-ltorch_cpu", "-ldl"])
            temporary.replace(target)
        archs = cuda_archs() if nvcc else None
        return {"cpu": list(isas()), "cuda": archs, "why": no_cuda}


def torch_folder() -> Path:
    """The installed torch package, found without importing it (pip isolates builds)."""
    named = os.environ.get("PERCEPTION_TORCH")
    code = (
        "import importlib.util as u; s = u.find_spec('torch'); "
        "print(s.submodule_search_locations[0] if s else '')"
    )
    found = (
        named
        or subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True
        ).stdout.strip()
    )
    if not found:
        raise NotBuiltError("torch is not installed; install torch first, then this package again")
    if not (Path(found) / "include/torch/csrc/stable/library.h").is_file():
        raise NotBuiltError(f"{found} has no stable C++ headers; torch 2.11 or newer is needed")
    return Path(found)


def find_nvcc() -> tuple[str | None, str | None]:
    """(path of nvcc, None), or (None, the reason why CUDA is left out)."""
    if os.environ.get("PERCEPTION_CUDA_ARCHS", CUDA_ARCHS) == "off":
        return None, "PERCEPTION_CUDA_ARCHS=off was set when it was built"
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    return nvcc, None if nvcc else "no CUDA compiler (nvcc) when it was built"


def isas() -> dict[str, list[str]]:
    """Flags of each compiled variant of the SIMD kernels; one of them is chosen at run time."""
    return ISAS if platform.machine() == "x86_64" else {"base": []}


def cuda_archs() -> list[str]:
    return os.environ.get("PERCEPTION_CUDA_ARCHS", CUDA_ARCHS).split(";")


def extra_flags(nvcc: str | None) -> list[str]:
    flags = os.environ.get("PERCEPTION_CXXFLAGS", "").split()
    return ["-Xcompiler", ",".join(flags)] if nvcc and flags else flags


def cpu_jobs(build: Path, compiler: str, torch: Path) -> list[Job]:
    """Everything in csrc/cpu; the files of csrc/cpu/simd once per instruction set."""
    flags = [*COMMON, *CXX, *extra_flags(None), f"-I{OPS / 'csrc'}", f"-I{torch / 'include'}"]
    plans = [(source, "", []) for source in sorted((OPS / "csrc/cpu").glob("*.cpp"))]
    for source in sorted((OPS / "csrc/cpu/simd").glob("*.cpp")):
        plans += [
            (source, f".{isa}", [*options, f"-DPERCEPTION_ISA={isa}"])
            for isa, options in isas().items()
        ]
    jobs = []
    for source, suffix, options in plans:
        output = build / f"{source.stem}{suffix}.o"
        command = [compiler, *flags, *options, "-MMD", "-c", str(source), "-o", str(output)]
        jobs.append(Job(source, output, command))
    return jobs


def cuda_jobs(build: Path, nvcc: str, torch: Path) -> list[Job]:
    """Everything in csrc/cuda, for all architectures in one object."""
    archs = cuda_archs()
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs]
    codes.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")
    flags = [
        *COMMON,
        "-DUSE_CUDA",
        "-fmad=false",
        "-Xcompiler",
        "-fPIC,-fvisibility=hidden",
        *small_code(nvcc),
        "--threads",
        "0",
        "-diag-suppress",
        "20012",
        *codes,
        f"-I{OPS / 'csrc'}",
        f"-I{torch / 'include'}",
    ]
    jobs = []
    for source in sorted((OPS / "csrc/cuda").glob("*.cu")):
        output = build / f"{source.stem}.cuda.o"
        # nvcc names the file after the source alone, unless it is told
        written = ["-MMD", "-MF", str(output.with_suffix(".d"))]
        command = [nvcc, *flags, *written, "-c", str(source), "-o", str(output)]
        jobs.append(Job(source, output, command))
    return jobs


def small_code(nvcc: str) -> list[str]:
    """Flags that keep the library small; compilers before CUDA 12.8 lack the better one."""
    known = subprocess.run([nvcc, "--help"], capture_output=True, text=True).stdout
    return ["--compress-mode=size"] if "--compress-mode" in known else ["-Xfatbin", "-compress-all"]


def compile_all(jobs: list[Job]) -> bool:
    """Compiles what is out of date, several at a time; True if anything was."""
    stale = [job for job in jobs if not up_to_date(job)]
    workers = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(compile_one, stale))
    return bool(stale)


def up_to_date(job: Job) -> bool:
    """Whether the object is newer than its source and every header that this includes."""
    stamp, noted = job.object.with_suffix(".cmd"), job.object.with_suffix(".d")
    if not (job.object.exists() and stamp.exists() and noted.exists()):
        return False
    if stamp.read_text() != digest(job):
        return False
    read = dependencies(noted.read_text())
    made = job.object.stat().st_mtime
    return all(path.exists() and path.stat().st_mtime < made for path in [job.source, *read])


def dependencies(rule: str) -> list[Path]:
    """The files of a make rule `object: source header ...` that the compiler wrote."""
    _, _, names = rule.replace("\\\n", " ").partition(": ")
    return [Path(n.replace("\\ ", " ")) for n in re.findall(r"(?:\\ |\S)+", names)]


def compile_one(job: Job) -> None:
    job.object.parent.mkdir(parents=True, exist_ok=True)
    run(job.command)
    job.object.with_suffix(".cmd").write_text(digest(job))


def digest(job: Job) -> str:
    return hashlib.sha256("\0".join(job.command).encode()).hexdigest()


def run(command: list[str]) -> None:
    print(" ".join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise NotBuiltError(f"{Path(command[0]).name} failed: {lines[0][:300]}")
    if done.stderr.strip():
        print(done.stderr, file=sys.stderr)


class BuildWithData(build_py):
    """`build_py`, then the data folders; an editable install reads them at the top instead."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in DATA_FOLDERS:
            target = Path(self.build_lib) / "perception" / "_data" / folder
            shutil.copytree(folder, target, dirs_exist_ok=True)


class PlatformWheel(bdist_wheel):
    """The library knows no Python version: one wheel per platform serves them all."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    """Always a platform wheel, so that the library lands beside the package."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    license="MIT",
    distclass=WithLibrary,
    ext_modules=[Extension("perception.ops.native", sources=[])],
    cmdclass={"build_py": BuildWithData, "build_ext": BuildNative, "bdist_wheel": PlatformWheel},
)
