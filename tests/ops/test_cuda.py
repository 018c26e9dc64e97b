"""The CUDA kernels equal the CPU's; bad rows give zeros; graphs capture. Skipped without a GPU."""

import pytest
import torch

import perception.ops as ops

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or not ops._native.STATUS.cuda, reason="no CUDA ops here"
)


@pytest.mark.parametrize("deterministic", [False, True])
def test_gpu_and_cpu_agree_forward_and_backward(deterministic):
    from cuda_calls import calls

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        for got, want in zip(calls("cuda"), calls("cpu"), strict=True):
            torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-5)
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_agree(dtype):
    torch.manual_seed(0)
    x = torch.rand(1, 24, 20, 20, dtype=dtype)
    rois = torch.tensor([[0, 1.5, 2, 17, 12], [0, -4, 3, 9, 30]])
    loose = {torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype]
    for layout in (torch.contiguous_format, torch.channels_last):
        given = x.contiguous(memory_format=layout)
        got = ops.roi_align(given.cuda(), rois.cuda(), 7, 0.5, 2)
        assert got.is_contiguous(memory_format=layout)
        torch.testing.assert_close(got.cpu(), ops.roi_align(given, rois, 7, 0.5, 2),
                                   rtol=loose, atol=loose)  # fmt: skip


@pytest.mark.parametrize("index", [7.0, -1.0, float("nan"), 0.5, 1e9])
def test_a_row_of_no_image_is_zero_and_an_error_under_set_debug(index):
    x = torch.rand(2, 4, 8, 8, device="cuda") + 1
    rois = torch.tensor([[0, 0, 0, 5, 5], [index, 0, 0, 5, 5]], device="cuda")
    for pool in (ops.roi_align, ops.roi_pool, ops.ps_roi_align, ops.ps_roi_pool):
        out = pool(x, rois, 2)
        assert (out[1] == 0).all() and (out[0] != 0).all()
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
        grads = [torch.autograd.grad(ops.roi_align(x, rois, 7, 1.0, 2).sum(), x)[0]
                 for _ in range(3)]  # fmt: skip
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
