import sys

import pytest
import torch
from torch import nn

from perception.errors import PerceptionError
from perception.training.balance import PCGrad, TorchJD


@pytest.fixture
def shared():
    return nn.Parameter(torch.tensor([1.0, 1.0]))


def losses_of(shared, **gradients):
    return {task: (torch.tensor(g) * shared).sum() for task, g in gradients.items()}


def test_pcgrad_by_hand(shared):
    """(1, 0) and (-1, 1) conflict: (1, 0) becomes (1/2, 1/2), (-1, 1) becomes (0, 1)."""
    losses = losses_of(shared, road=[1.0, 0.0], boxes=[-1.0, 1.0])

    PCGrad().backward(losses, [shared], torch.Tensor.backward)

    assert shared.grad.tolist() == pytest.approx([0.5, 1.5])


def test_pcgrad_of_gradients_that_agree_is_their_sum(shared):
    losses = losses_of(shared, road=[1.0, 0.0], boxes=[1.0, 1.0])

    PCGrad().backward(losses, [shared], torch.Tensor.backward)

    assert shared.grad.tolist() == [2.0, 1.0]


def test_heads_keep_their_own_gradient(shared):
    head = nn.Parameter(torch.tensor(3.0))
    losses = losses_of(shared, road=[1.0, 0.0], boxes=[-1.0, 1.0])
    losses["road"] = losses["road"] + 5 * head

    PCGrad().backward(losses, [shared], torch.Tensor.backward)

    assert head.grad.item() == 5.0


def test_accumulated_passes_add_up_at_their_share_and_loss_scale(shared):
    for _ in range(2):
        losses = losses_of(shared, road=[1.0, 0.0], boxes=[-1.0, 1.0])
        PCGrad().backward(losses, [shared], lambda total: (total * 1024 * 0.5).backward())

    assert shared.grad.tolist() == pytest.approx([512.0, 1536.0])


def test_one_task_in_a_step_gets_its_plain_gradient(shared):
    PCGrad().backward(losses_of(shared, road=[1.0, 2.0]), [shared], torch.Tensor.backward)

    assert shared.grad.tolist() == [1.0, 2.0]


def test_a_parameter_that_no_task_reaches_stays_without_gradient(shared):
    idle = nn.Parameter(torch.tensor([1.0]))
    losses = losses_of(shared, road=[1.0, 0.0], boxes=[-1.0, 1.0])

    PCGrad().backward(losses, [shared, idle], torch.Tensor.backward)

    assert idle.grad is None
    assert shared.grad.tolist() == pytest.approx([0.5, 1.5])


def test_the_order_of_projections_follows_the_generator(shared):
    def three():
        shared.grad = None
        losses = losses_of(shared, a=[1.0, 0.0], b=[-1.0, 0.3], c=[-0.2, -1.0])
        PCGrad().backward(losses, [shared], torch.Tensor.backward)
        return shared.grad.tolist()

    torch.manual_seed(3)
    first = three()
    torch.manual_seed(3)

    assert three() == first


def test_torchjd_aggregates_the_gradients_of_the_encoder(shared):
    """UPGrad averages (1/2, 1/2) and (0, 1), which PCGrad adds: times two tasks, the same."""
    pytest.importorskip("torchjd")
    losses = losses_of(shared, road=[1.0, 0.0], boxes=[-1.0, 1.0])

    TorchJD().backward(losses, [shared], torch.Tensor.backward)

    assert shared.grad.tolist() == pytest.approx([0.5, 1.5], abs=1e-3)


def test_an_unknown_aggregator_lists_those_there_are():
    pytest.importorskip("torchjd")
    with pytest.raises(PerceptionError, match=r"balance.aggregator: found MGAD, .*MGDA"):
        TorchJD("MGAD")
    with pytest.raises(PerceptionError, match=r"balance.options"):
        TorchJD("MGDA", {"nonsense": 1})


def test_torchjd_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)

    with pytest.raises(PerceptionError, match=r"road-perception\[torchjd\]"):
        TorchJD()
