"""RoIAlign from a pyramid: which level a box reads, and that it is one call of RoIAlign each."""

import pytest
import torch

from perception.ops import multi_level_roi_align, roi_align

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def pyramid(channels: int = 3, images: int = 2) -> list[torch.Tensor]:
    """Levels of a 512 x 512 image; level l holds random numbers plus 100 l."""
    torch.manual_seed(0)
    sizes = [int(512 * scale) for scale in SCALES]
    return [torch.rand(images, channels, n, n) + 100 * i for i, n in enumerate(sizes)]


@pytest.mark.parametrize(
    ("size", "level"), [(112, 1), (224, 2), (223.9, 1), (448, 3), (5, 0), (5000, 3), (0, 0)]
)
def test_the_level_follows_the_size_of_the_box(size, level):
    box = torch.tensor([[0, 10.0, 10.0, 10 + size, 10 + size]])
    maps = [torch.full((1, 1, 512, 512), float(i)) for i in range(4)]

    assert multi_level_roi_align(maps, box, 1, SCALES, 1, True).item() == level


def test_rows_come_in_the_order_of_the_boxes_and_equal_roi_align():
    maps = pyramid()
    sides = [224.0, 20, 448, 112, 300]
    boxes = torch.tensor([[i % 2, 5.0, 7.0, 5 + s, 7 + s] for i, s in enumerate(sides)])

    pooled = multi_level_roi_align(maps, boxes, (3, 2), SCALES, 2)

    for row, (box, level) in enumerate(zip(boxes, [2, 0, 3, 1, 2], strict=True)):
        alone = roi_align(maps[level], box[None], (3, 2), SCALES[level], 2)
        assert torch.equal(pooled[row], alone[0])


def test_given_levels_override_the_rule():
    maps = pyramid()
    box = torch.tensor([[0, 5.0, 7.0, 229.0, 231.0]])

    pooled = multi_level_roi_align(maps, box, 2, SCALES, 2, levels=torch.tensor([3]))

    assert torch.equal(pooled, roi_align(maps[3], box, 2, SCALES[3], 2))


def test_levels_that_do_not_fit_together_are_refused():
    maps = pyramid()
    box = torch.tensor([[0, 5.0, 7.0, 30.0, 30.0]])

    with pytest.raises(ValueError, match="halve"):
        multi_level_roi_align(maps, box, 2, [1 / 4, 1 / 8, 1 / 8, 1 / 16])
    with pytest.raises(ValueError, match=r"features\[1\]"):
        multi_level_roi_align([maps[0], maps[1][:, :2]], box, 2, SCALES[:2])
    with pytest.raises(ValueError, match="levels"):
        multi_level_roi_align(maps, box, 2, SCALES, levels=torch.tensor([4]))


def test_gradients_reach_every_level():
    maps = [m[:, :1, :6, :6].double().requires_grad_() for m in pyramid()]
    boxes = torch.tensor([[0, 1.0, 2, 20, 19], [1, 0, 0, 130, 121], [0, 3, 3, 240, 250]]).double()

    def pool(*levels: torch.Tensor) -> torch.Tensor:
        return multi_level_roi_align(levels, boxes, 2, SCALES, 2)

    assert torch.autograd.gradcheck(pool, maps)
    assert torch.autograd.gradgradcheck(pool, maps)
