"""Every compiled op and gradient equals its definition: shapes, layouts, dtypes, odd boxes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import perception.ops as ops
from perception.ops import reference
from tests.ops.samples import Sample, recorded, samples

pytestmark = pytest.mark.skipif(ops.backend() != "native", reason="no compiled kernels here")

HERE = Path(__file__).parent
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
LAYOUTS = ["plain", "last", "sliced", "flipped", "expanded"]
ROUNDING = {8: 1e-9, 4: 3e-5, 2: 3e-2}  # by bytes of an element; gradients of boxes cancel


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same shape (and but for `expanded` the same values) in another layout."""
    if layout == "last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        wide = torch.full((*x.shape[:3], 2 * x.shape[3] + 1), float("nan"), dtype=x.dtype)
        return wide[..., 1::2].copy_(x)
    if layout == "flipped":
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    return x[:1, :1].expand(x.shape) if layout == "expanded" else x


def assert_equals_its_definition(sample: Sample, dtype: torch.dtype, layout: str) -> None:
    """Every op that the call and its gradient reach, with the arguments it got."""
    inputs = [x.float() if dtype != torch.float64 else x for x in sample.inputs]
    inputs[: sample.maps] = [laid_out(x.to(dtype), layout) for x in inputs[: sample.maps]]
    inputs = [x.detach().requires_grad_(sample.differentiable) for x in inputs]

    def run() -> None:
        out = sample.run(*inputs)
        if sample.differentiable:
            above = torch.linspace(-1, 1, out[0].numel(), dtype=out[0].dtype)
            torch.autograd.grad(out[0], inputs, above.view_as(out[0]))

    for op, args in recorded(run):
        name = op._schema.name.split("::")[1]
        if name.endswith("iou_backward") and not all(x.isfinite().all() for x in flat(args)):
            continue  # no gradient is promised beside such boxes
        with torch.no_grad():
            found, wanted = op(*args), getattr(reference, name)(*args)
        narrowest = min(x.element_size() for x in flat(args) if x.is_floating_point())
        for got, want in zip(flat(found), flat(wanted), strict=True):
            assert_close(got, want, name, ROUNDING[narrowest])


def flat(values) -> list[torch.Tensor]:
    """The tensors among results or arguments."""
    if isinstance(values, torch.Tensor):
        return [values]
    inner = values if isinstance(values, (tuple, list)) else ()
    return [tensor for value in inner for tensor in flat(value)]


def assert_close(got: torch.Tensor, want: torch.Tensor, name: str, rounding: float) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape, name
    if not got.is_floating_point():
        assert torch.equal(got, want), name
        return
    grade = rounding * (5 if name.endswith("_backward") else 1)
    largest = want.double().abs().nan_to_num(0, 0, 0).max().item() if want.numel() else 0
    torch.testing.assert_close(
        got.double(),
        want.double(),
        rtol=grade,
        atol=grade * min(max(largest, 1e-3), 1e3),
        equal_nan=True,
        msg=lambda text: f"{name}: {text}",
    )


@pytest.mark.parametrize("name", samples())
@given(
    st.integers(0, 2**20),
    st.tuples(st.integers(1, 9), st.integers(1, 11)),
    st.integers(0, 6),
    st.sampled_from([8, 24, 40]),
    st.sampled_from(DTYPES),
    st.sampled_from(LAYOUTS),
    st.booleans(),
)
@settings(deadline=None, max_examples=8)
def test_native_equals_the_definition(name, seed, size, count, channels, dtype, layout, odd):
    sample = samples(seed, size, count, channels, odd=odd)[name]

    assert_equals_its_definition(sample, dtype, layout)


VARIANT = """
import sys
import perception.ops as ops
from tests.ops.samples import samples
from tests.ops.test_native_all import DTYPES, assert_equals_its_definition
assert ops._native.STATUS.isa == sys.argv[1], ops._native.STATUS
for seed in range(2):
    for sample in samples(seed, (5, 6), 3, 40, odd=bool(seed)).values():
        for dtype in DTYPES:
            for layout in ("plain", "last"):
                assert_equals_its_definition(sample, dtype, layout)
"""


def in_variant(isa: str, *words: str) -> None:
    if isa == "avx2" and ops._native.STATUS.isa == "base":
        pytest.skip("no AVX2 here")
    environment = {**os.environ, "PERCEPTION_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.mark.parametrize("isa", ["base", "avx2"])
def test_the_narrower_variants_equal_the_definitions(isa):
    in_variant(isa, "-c", VARIANT, isa)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["base", "avx2"])
def test_everything_about_kernels_holds_for_the_narrower_variants(isa):
    files = [
        "test_native_pooling",
        "test_native_overlap",
        "test_native_deform",
        "test_concurrent_calls",
        "test_nasty_all",
        "test_all_gradients",
    ]
    paths = [str(HERE / f"{name}.py") for name in files]
    in_variant(isa, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *paths)


@pytest.mark.slow
def test_everything_holds_for_the_definitions_alone():
    environment = {**os.environ, "PERCEPTION_NATIVE": "off"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*words, str(HERE)], env=environment, text=True, capture_output=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout[-3000:]
