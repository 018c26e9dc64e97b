"""The CUDA kernels, run on the CPU by a model of CUDA's threads, equal the definitions.

Needs g++ and no GPU. Speed, real concurrency and nvcc are beyond it (see cuda_on_cpu/build.py).
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPEC = importlib.util.spec_from_file_location("build", HERE / "cuda_on_cpu" / "build.py")
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None
    and os.environ.get("PERCEPTION_NATIVE") != "required",
    reason="no C++ compiler here",
)


@pytest.fixture(scope="module")
def library() -> Path:
    return build.build(ROOT / "build" / "cuda_on_cpu")


def run(script: str, *words: str, order: str = "forward") -> subprocess.CompletedProcess:
    """A script of tests/ops in a Python of its own, where the definitions serve by default."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PERCEPTION_NATIVE": "off",
        "CUDA_ON_CPU_ORDER": order,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(HERE / script), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def results(library, tmp_path_factory):
    """The lists of cuda_calls.py: of the kernels or, for `order=None`, of the definitions."""
    folder, known = tmp_path_factory.mktemp("results"), {}

    def of(order: str | None, *, deterministic: bool = False) -> dict[str, list[torch.Tensor]]:
        key = (order, deterministic)
        if key not in known:
            out = folder / f"{order}_{deterministic}.pt"
            words = ["--device", "cpu", "--out", str(out)]
            words += ["--library", str(library), "--strangers"] if order else []
            words += ["--deterministic"] if deterministic else []
            done = run("cuda_calls.py", *words, order=order or "forward")
            assert done.returncode == 0, done.stderr
            known[key] = torch.load(out)
        return known[key]

    return of


LOOSE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("order", ["forward", "shuffle"])
def test_kernels_equal_the_definitions(results, order, deterministic):
    got, want = results(order, deterministic=deterministic)["calls"], results(None)["calls"]

    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        loose = LOOSE.get(theirs.dtype, 0)
        torch.testing.assert_close(mine, theirs, rtol=10 * loose, atol=loose, equal_nan=True)


@pytest.mark.parametrize("order", ["reverse", "shuffle"])
def test_deterministic_kernels_give_the_same_bits_in_any_order_of_threads(results, order):
    first = results("forward", deterministic=True)["calls"]
    again = results(order, deterministic=True)["calls"]

    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_the_same_of_thousands_of_boxes_are_kept(library, tmp_path):
    kept = []
    for words in ([], ["--library", str(library)]):
        out = tmp_path / f"{len(kept)}.pt"
        done = run("cuda_calls.py", "--device", "cpu", "--crowds", "--out", str(out), *words)
        assert done.returncode == 0, done.stderr
        kept.append(torch.load(out)["crowds"])

    assert all(mine.equal(theirs) for mine, theirs in zip(*kept, strict=True))


def test_the_order_of_threads_is_seen_by_the_fast_backward(results):
    """Or the test above could not fail."""
    first, again = results("forward")["calls"], results("shuffle")["calls"]

    assert not all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_rows_of_no_image_are_zero_and_have_no_gradient(results):
    found = results("forward")["strangers"]

    for out, grad in zip(found[::2], found[1::2], strict=True):
        assert (out[1] == 0).all() and (out[0] != 0).all()
        assert (grad[1] == 0).all() and (grad[0] != 0).any()


@pytest.mark.slow
def test_tiles_of_deformable_convolution_add_up_to_the_whole(results, tmp_path):
    """A tile is a few output pixels here, not 256 MB."""
    folder = ROOT / "perception" / "ops" / "csrc" / "cuda"
    kernels = [folder / f"{name}.cu" for name in ("maps", "deform_conv", "deform_conv_backward")]
    tiled = build.build(ROOT / "build" / "cuda_on_cpu", ["-DPERCEPTION_TILE_BYTES=6000"], kernels)
    for words in ([], ["--deterministic"]):
        out = tmp_path / "tiled.pt"
        done = run(
            "cuda_calls.py", "--device", "cpu", "--library", str(tiled), "--out", str(out), *words
        )
        assert done.returncode == 0, done.stderr
        for mine, theirs in zip(torch.load(out)["calls"], results(None)["calls"], strict=True):
            loose = LOOSE.get(theirs.dtype, 0)
            torch.testing.assert_close(mine, theirs, rtol=10 * loose, atol=loose, equal_nan=True)


def test_random_and_odd_calls_end_in_answers_or_refusals(library):
    done = run("fuzz.py", "--calls", "400", "--library", str(library))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("which", "message"),
    [(0, "threads of a block meet at"), (1, "wait for each other"), (2, "threads per block")],
)
def test_the_model_refuses_what_a_gpu_leaves_undefined(broken, which, message):
    with pytest.raises(RuntimeError, match=message):
        broken(torch.zeros(1), which)


def test_the_model_shows_a_missing_barrier(broken, monkeypatch):
    first = broken(torch.zeros(1), 3)
    monkeypatch.setenv("CUDA_ON_CPU_ORDER", "reverse")

    assert not torch.equal(first, broken(torch.zeros(1), 3))


@pytest.fixture(scope="module")
def broken():
    kernels = [HERE / "cuda_on_cpu" / "broken.cu"]
    torch.ops.load_library(build.build(ROOT / "build" / "cuda_on_cpu", kernels=kernels))
    return torch.ops.perception_broken.broken
