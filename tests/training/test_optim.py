import math

import pytest
import torch
from torch import nn

from perception.ops import DeformConv2d
from perception.training.optim import (
    Constant,
    Cosine,
    Plateau,
    Poly,
    parameter_groups,
    set_learning_rate,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8, bias=False)
        )
        self.head = nn.Linear(8, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.log_variance = nn.Parameter(torch.zeros(()))


def test_every_trained_parameter_is_in_exactly_one_group():
    net = Net()

    groups = parameter_groups(net, lr=0.1, weight_decay=0.01)

    seen = [id(p) for group in groups for p in group["params"]]
    assert sorted(seen) == sorted(id(p) for p in net.parameters() if p.requires_grad)


def test_norms_biases_depthwise_kernels_and_scalars_are_not_decayed():
    net = Net()

    groups = parameter_groups(net, lr=0.1, weight_decay=0.01, encoder_lr_factor=0.5)

    decayed = {id(p) for g in groups if g["weight_decay"] > 0 for p in g["params"]}
    assert decayed == {id(net.encoder[0].weight), id(net.head.weight)}
    rates = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert (rates[id(net.encoder[2].weight)], rates[id(net.head.bias)]) == (0.05, 0.1)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Constant(warmup=2), {0: 0.5, 1: 1.0, 99: 1.0}),
        (Poly(power=1.0), {0: 1.0, 50: 0.5, 100: 0.0}),
        (Poly(power=0.9, warmup=10), {0: 0.1, 50: 0.5**0.9}),
        (Cosine(warmup=0), {0: 1.0, 50: 0.5, 100: 0.0}),
        (Cosine(warmup=10, end=0.1), {4: 0.5, 10: 1.0, 55: 0.55, 100: 0.1}),
    ],
)
def test_schedules_at_hand_worked_steps(schedule, factors):
    for step, expected in factors.items():
        assert schedule.factor(step, 100) == pytest.approx(expected)


def test_plateau_decays_once_exactly_when_the_patience_is_over():
    schedule = Plateau(patience=3, smoothing=0.0)
    factors = []
    for loss in (1.0, 0.5, 0.5, 0.499, 0.5, 0.5):  # the last improvement is the second
        schedule.observe(loss)
        factors.append(schedule.factor(0, 1))

    assert factors == [1, 1, 1, 1, pytest.approx(1 / math.sqrt(10)), pytest.approx(0.316228)]


def test_plateau_goes_on_after_a_resume():
    a, b = Plateau(patience=2), Plateau(patience=2)
    for loss in (1.0, 1.0):
        a.observe(loss)
    b.load_state_dict(a.state_dict())

    for schedule in (a, b):
        schedule.observe(1.0)

    assert a.state == b.state
    assert a.factor(0, 1) < 1


def test_the_factor_is_of_the_first_learning_rate_not_of_the_last():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)

    set_learning_rate(optimizer, 0.5)
    set_learning_rate(optimizer, 0.5)

    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


def test_deformable_convolutions_decay_and_the_rate_of_their_offsets_is_a_setting():
    net = nn.Module()
    net.offset = nn.Conv2d(4, 18, 3)
    net.convolve = DeformConv2d(4, 8, 3)

    plain = parameter_groups(net, lr=0.1, weight_decay=0.01)
    groups = parameter_groups(net, lr=0.1, weight_decay=0.01, offset_lr_factor=0.25)

    decayed = {id(p) for g in groups if g["weight_decay"] > 0 for p in g["params"]}
    assert decayed == {id(net.offset.weight), id(net.convolve.weight)}
    rates = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert [rates[id(p)] for p in net.offset.parameters()] == [0.025, 0.025]
    assert [rates[id(p)] for p in net.convolve.parameters()] == [0.1, 0.1]
    assert len(groups) == 4
    assert len(plain) == 2  # older runs go on with their groups
