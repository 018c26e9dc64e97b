import pytest
import torch
from torch import nn

from perception.training.balance import Fixed, Uncertainty, task_gradients


@pytest.fixture
def shared_and_losses():
    shared = nn.Parameter(torch.tensor([1.0, 2.0]))
    return shared, {"road": (shared**2).sum(), "boxes": 3 * shared.sum()}


def test_fixed_weights_are_a_weighted_sum(shared_and_losses):
    shared, losses = shared_and_losses

    total = Fixed({"boxes": 0.5}).backward(losses, [shared], torch.Tensor.backward)

    assert total.item() == 5 + 0.5 * 9
    assert shared.grad.tolist() == [2 + 1.5, 4 + 1.5]


def test_uncertainty_by_hand():
    """exp(-s) * loss + s / 2 with s = ln 2 for road: 4 / 2 + 0.3466; boxes: 3."""
    balance = Uncertainty(["road", "boxes"])
    balance.log_variance["road"].data.fill_(torch.log(torch.tensor(2.0)))
    losses = {"road": torch.tensor(4.0), "boxes": torch.tensor(3.0)}

    assert balance.total(losses).item() == pytest.approx(2 + 0.34657 + 3, abs=1e-4)


def test_uncertainty_leaves_the_variance_of_an_absent_task_alone():
    balance = Uncertainty(["road", "boxes"])

    balance.backward({"road": torch.tensor(4.0, requires_grad=True)}, [], torch.Tensor.backward)

    assert balance.log_variance["boxes"].grad is None
    assert balance.log_variance["road"].grad.item() == pytest.approx(-4 + 0.5)


def test_uncertainty_finds_the_variance_of_a_constant_loss():
    """The minimum of exp(-s) * L + s / 2 is at exp(s) = 2 L."""
    balance = Uncertainty(["road"])
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        balance.backward({"road": torch.tensor(3.0)}, [], torch.Tensor.backward)
        optimizer.step()

    assert balance.log_variance["road"].exp().item() == pytest.approx(6.0, rel=1e-3)


def test_task_gradients_add_up_to_the_joint_gradient(shared_and_losses):
    shared, losses = shared_and_losses

    separate = task_gradients(losses, [shared])
    Fixed().backward(losses, [shared], torch.Tensor.backward)

    torch.testing.assert_close(separate["road"][0] + separate["boxes"][0], shared.grad)
