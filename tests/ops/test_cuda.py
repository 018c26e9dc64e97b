"""The CUDA kernels equal the CPU's; bad rows give zeros; graphs capture. Skipped without a GPU."""

import importlib.util
from pathlib import Path

import pytest
import torch

import perception.ops as ops

SPEC = importlib.util.spec_from_file_location("calls", Path(__file__).with_name("cuda_calls.py"))
cuda_calls = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cuda_calls)

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or not ops._native.STATUS.cuda, reason="no CUDA ops here"
)


LOOSE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("deterministic", [False, True])
def test_gpu_and_cpu_agree_forward_and_backward(deterministic):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        for got, want in zip(cuda_calls.calls("cuda"), cuda_calls.calls("cpu"), strict=True):
            loose = LOOSE.get(want.dtype, 0)
            torch.testing.assert_close(got, want, rtol=10 * loose, atol=loose, equal_nan=True)
    finally:
        torch.use_deterministic_algorithms(before)


def test_gpu_and_cpu_keep_the_same_of_thousands_of_boxes():
    for got, want in zip(cuda_calls.crowds("cuda"), cuda_calls.crowds("cpu"), strict=True):
        assert got.cpu().equal(want)


def test_rows_of_no_image_are_zero_and_have_no_gradient():
    found = cuda_calls.strangers("cuda")

    for out, grad in zip(found[::2], found[1::2], strict=True):
        assert (out[1] == 0).all() and (out[0] != 0).all()
        assert (grad[1] == 0).all() and (grad[0] != 0).any()


@pytest.mark.parametrize("index", [7.0, -1.0, float("nan"), 0.5, 1e9])
def test_a_row_of_no_image_is_an_error_under_set_debug(index):
    x = torch.rand(2, 4, 8, 8, device="cuda")
    rois = torch.tensor([[0, 0, 0, 5, 5], [index, 0, 0, 5, 5]], device="cuda")
    ops.set_debug(True)
    try:
        with pytest.raises(ValueError, match="image index"):
            ops.roi_align(x, rois, 2)
    finally:
        ops.set_debug(False)


def test_the_deterministic_backward_gives_the_same_bits_every_time():
    torch.manual_seed(0)
    x = torch.rand(1, 64, 30, 30, device="cuda", requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1, 25, 25]], device="cuda").repeat(200, 1)
    torch.use_deterministic_algorithms(True)
    try:
        grads = [
            torch.autograd.grad(ops.roi_align(x, rois, 7, 1.0, 2).sum(), x)[0] for _ in range(3)
        ]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(grads[0], grad) for grad in grads)


def test_forward_and_backward_are_captured_in_a_graph():
    x = torch.rand(1, 16, 30, 30, device="cuda", requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1, 25, 25], [0, 3, 2, 9, 9]], device="cuda")

    def step() -> torch.Tensor:
        return torch.autograd.grad(ops.roi_align(x, rois, 7, 1.0, 2).sum(), x)[0]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    torch.cuda.synchronize()

    torch.testing.assert_close(captured, step())


def test_padded_nms_is_captured_in_a_graph_and_follows_new_boxes():
    first, second = (cuda_calls.crowd(3000, seed, "cuda") for seed in (1, 2))
    boxes, scores = first[0].clone(), first[1].clone()
    idxs = torch.arange(3000, device="cuda") % 5
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        ops.batched_nms(boxes, scores, idxs, 0.5, max_output=100)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plain = ops.nms(boxes, scores, 0.5, max_output=100)
        grouped = ops.batched_nms(boxes, scores, idxs, 0.5, max_output=100)
    for given in (first, second):
        boxes.copy_(given[0])
        scores.copy_(given[1])
        graph.replay()

        expected = ops.nms(*given, 0.5, max_output=100)
        expected += ops.batched_nms(*given, idxs, 0.5, max_output=100)
        torch.cuda.synchronize()
        for got, want in zip((*plain, *grouped), expected, strict=True):
            assert got.equal(want)


def test_suppression_on_another_stream_waits_for_what_that_stream_made():
    expected = cuda_calls.suppressions("cuda")
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(2)]
    found = []
    for stream in streams:
        with torch.cuda.stream(stream):
            torch.cuda._sleep(10**7)  # the default stream is long done
            found.append(cuda_calls.suppressions("cuda"))
    torch.cuda.synchronize()

    for got in found:
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
