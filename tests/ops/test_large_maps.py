"""Maps too large for a cache are read in another order: by rows, or channel by channel."""

from collections.abc import Callable

import pytest
import torch

import perception.ops as ops

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

POOLS: dict[str, Pool] = {
    "roi_align": lambda x, rois: ops.roi_align(x, rois, 3, 0.5, 2),
    "roi_pool": lambda x, rois: ops.roi_pool(x, rois, 3, 0.5),
    "ps_roi_align": lambda x, rois: ops.ps_roi_align(x, rois, 7, 0.5),
    "ps_roi_pool": lambda x, rois: ops.ps_roi_pool(x, rois, 7, 0.5),
    "multi_level": lambda x, rois: ops.multi_level_roi_align(
        [x, x[:, :, ::2, ::2], x[:, :, ::4, ::4]], rois, 3, [0.5, 0.25, 0.125]
    ),
}


@pytest.fixture(scope="module", params=["plain", "last"])
def large(request) -> torch.Tensor:
    """18 MB: two images of 98 channels, more than the kernels take to fit a cache."""
    x = torch.randn(2, 98, 210, 110, generator=torch.Generator().manual_seed(0))
    return x if request.param == "plain" else x.contiguous(memory_format=torch.channels_last)


def boxes(count: int) -> torch.Tensor:
    """Boxes of 2 to 120 pixels in no order, some beyond the border, one of them no number."""
    rng = torch.Generator().manual_seed(1)
    corner = torch.rand(count, 2, generator=rng) * torch.tensor([230.0, 430.0]) - 10
    size = 2 + torch.rand(count, 2, generator=rng) ** 3 * 118
    image = torch.randint(2, (count, 1), generator=rng).float()
    rois = torch.cat([image, corner, corner + size], dim=1)
    rois[count // 2, 2] = float("nan")
    return rois


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("count", [30, 250])
def test_boxes_together_give_what_each_gives_alone(large, name, count):
    pool, rois = POOLS[name], boxes(count)
    together = pool(large, rois)
    for k in range(0, count, 10):
        assert torch.equal(together[k], pool(large, rois[k : k + 1])[0])


@pytest.mark.parametrize("name", POOLS)
def test_gradients_together_are_the_sum_of_those_alone(large, name):
    pool, rois = POOLS[name], boxes(10)

    def gradient(rois: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
        leaf = large.detach().requires_grad_()
        return torch.autograd.grad(pool(leaf, rois), leaf, upper)[0]

    upper = torch.randn_like(pool(large, rois))
    alone = torch.zeros_like(large)
    for k in range(len(rois)):
        alone += gradient(rois[k : k + 1], upper[k : k + 1])
    torch.testing.assert_close(gradient(rois, upper), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", POOLS)
def test_one_thread_and_two_give_the_same_bits_on_a_large_map(large, name):
    pool, rois, before = POOLS[name], boxes(250), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = large.detach().requires_grad_()
            out = pool(leaf, rois)
            results.append((out.detach(), torch.autograd.grad(out.square().sum(), leaf)[0]))
    finally:
        torch.set_num_threads(before)
    for out, gradient in results[1:]:
        assert torch.equal(out, results[0][0]) and torch.equal(gradient, results[0][1])
