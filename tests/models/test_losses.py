from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from perception.models.losses import (
    PIXEL_LOSSES,
    cross_entropy,
    dice,
    focal,
    generalized_iou_loss,
    lovasz,
    pixel_loss,
    smooth_l1,
)


def logits_of(p: list[float]) -> torch.Tensor:
    """(1, 2, 1, len(p)) softmax logits that give class 1 the probabilities `p`."""
    p1 = torch.tensor(p).view(1, 1, 1, -1)
    return torch.cat([(1 - p1).log(), p1.log()], 1)


def scene(seed: int = 0, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, classes, 6, 7, generator=random)
    target = torch.randint(0, classes, (4, 6, 7), generator=random)
    target[:, 0] = 255
    return logits, target


def test_cross_entropy_is_torchs_weighted_mean():
    logits, target = scene()
    weight = torch.tensor([1.0, 2.0, 0.5])

    expected = F.cross_entropy(logits, target, weight, ignore_index=255)

    torch.testing.assert_close(cross_entropy(logits, target, weight=weight), expected)


def test_focal_with_gamma_0_is_cross_entropy_and_gamma_2_by_hand():
    logits, target = scene()

    torch.testing.assert_close(focal(logits, target, gamma=0), cross_entropy(logits, target))
    torch.testing.assert_close(
        focal(logits_of([0.9]), torch.ones(1, 1, 1, dtype=torch.long)),
        torch.tensor(0.1**2 * -math.log(0.9)),
        rtol=1e-4,
        atol=0,
    )


def test_dice_by_hand():
    """Class 1: overlap 0.9, sums 1.1 and 1; class 0: overlap 0.8, sums 0.9 and 1."""
    loss = dice(logits_of([0.9, 0.2]), torch.tensor([[[1, 0]]]))

    expected = 1 - (2 * 0.9 / 2.1 + 2 * 0.8 / 1.9) / 2
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_lovasz_by_hand():
    """Class 1 of (1, 1, 0) with errors .4, .1, .3: sorted .4 .3 .1, 1 - IoU 1/2, 2/3, 1."""
    loss = lovasz(logits_of([0.6, 0.9, 0.3]), torch.tensor([[[1, 1, 0]]]))

    one = 0.4 / 2 + 0.3 / 6 + 0.1 / 3
    zero = 0.4 * 1 / 2 + 0.3 * 1 / 2 + 0.1 * 0  # class 0: one pixel, errors .4 (not it), .3 (it)
    torch.testing.assert_close(loss, torch.tensor((one + zero) / 2))


def test_lovasz_of_hard_answers_is_one_minus_iou():
    logits = 60.0 * F.one_hot(torch.tensor([[[0, 1, 1, 0, 1]]]), 2).permute(0, 3, 1, 2).float()

    loss = lovasz(logits, torch.tensor([[[0, 1, 0, 0, 0]]]))

    torch.testing.assert_close(loss, torch.tensor(((1 - 2 / 4) + (1 - 1 / 3)) / 2))


@pytest.mark.parametrize("name", PIXEL_LOSSES)
@pytest.mark.parametrize("masks", ["softmax", "sigmoid"])
def test_ignored_pixels_change_nothing_and_get_no_gradient(name, masks):
    logits, target = scene()
    logits.requires_grad_()
    other = logits.detach().clone()
    other[:, :, 0] = 9.0

    loss = pixel_loss(name, logits, target, masks=masks)
    loss.backward()

    torch.testing.assert_close(pixel_loss(name, other, target, masks=masks), loss.detach())
    assert not logits.grad[:, :, 0].any()
    assert logits.grad[:, :, 1:].any()


@pytest.mark.parametrize("name", PIXEL_LOSSES)
@pytest.mark.parametrize("masks", ["softmax", "sigmoid"])
def test_two_processes_equal_one(name, masks):
    """Losses of two parts, averaged, are the loss of the whole; so are then the gradients."""
    logits, target = scene()
    target[:1] = 255
    weight = torch.tensor([1.0, 3.0, 0.5])

    def loss(part, reduce_count):
        return pixel_loss(
            name, logits[part], target[part], masks=masks, weight=weight, reduce_count=reduce_count
        )

    counts: list[torch.Tensor] = []
    for part in (slice(0, 2), slice(2, 4)):
        loss(part, lambda count: counts.append(count) or count)
    parts = [loss(p, lambda _: sum(counts) / 2) for p in (slice(0, 2), slice(2, 4))]

    torch.testing.assert_close(sum(parts) / 2, loss(slice(0, 4), lambda count: count))


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_a_batch_with_nothing_to_score_costs_zero(name):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)

    loss = pixel_loss(name, logits, torch.full((1, 4, 4), 255))
    loss.backward()

    assert loss == 0
    assert not logits.grad.any()


def test_sigmoid_masks_decouple_the_classes():
    """d loss of class k / d logit of class j is zero for j != k; softmax couples them."""
    logits, target = scene()

    for k in range(3):
        free = logits.clone().requires_grad_()
        only_k = torch.eye(3)[k]
        cross_entropy(free, target, masks="sigmoid", weight=only_k).backward()
        touched = free.grad.abs().sum((0, 2, 3)) > 0
        assert touched.tolist() == [j == k for j in range(3)]

    free = logits.clone().requires_grad_()
    cross_entropy(free, target, weight=torch.eye(3)[0]).backward()
    assert (free.grad.abs().sum((0, 2, 3)) > 0).all()


def test_one_sigmoid_mask_is_binary_segmentation():
    """One logit z against class 1 is the two-class softmax with logits (0, z)."""
    logits, target = scene(classes=2)
    z = logits[:, 1:] - logits[:, :1]

    for name in ("cross_entropy", "focal"):
        torch.testing.assert_close(
            pixel_loss(name, z, target, masks="sigmoid"), pixel_loss(name, logits, target)
        )


def test_smooth_l1_by_hand():
    loss = smooth_l1(torch.tensor([[0.5, 3.0]]), torch.zeros(1, 2))

    torch.testing.assert_close(loss, torch.tensor([0.5 * 0.25 + 2.5]))
    torch.testing.assert_close(
        smooth_l1(torch.tensor([[0.5, 3.0]]), torch.zeros(1, 2), beta=0), torch.tensor([3.5])
    )


def test_generalized_iou_by_hand():
    """Equal: 0. Half shared: IoU 1/3, hull = union. Apart by a gap: 0 - (hull - union) / hull."""
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    targets = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [3, 0, 4, 1]])

    loss = generalized_iou_loss(boxes, targets)

    torch.testing.assert_close(loss, torch.tensor([0.0, 2 / 3, 1 + 2 / 4]))
