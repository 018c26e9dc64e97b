import math

import pytest
import torch
from torch import nn

from perception.training.balance import DWA, FAMO, EqualGradients, GradNorm, task_gradients


def losses_of(shared, **factors):
    """Losses factor * (x + y) with gradients (factor, factor) on `shared`."""
    return {task: factor * shared.sum() for task, factor in factors.items()}


@pytest.fixture
def shared():
    return nn.Parameter(torch.tensor([1.0, 1.0]))


def run(balance, losses, shared):
    shared.grad = None
    return balance.backward(losses, [shared], torch.Tensor.backward).item()


def test_after_the_warm_up_every_task_has_the_same_gradient_norm(shared):
    """Norms 1 * sqrt(2) and 3 * sqrt(2), mean 2 * sqrt(2): factors 2 and 2 / 3."""
    balance = EqualGradients(["road", "boxes"], warmup=2, window=1)

    assert run(balance, losses_of(shared, road=1.0, boxes=3.0), shared) == 2 + 6
    assert run(balance, losses_of(shared, road=1.0, boxes=3.0), shared) == 2 + 6
    run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)

    assert balance.factor.tolist() == pytest.approx([2.0, 2 / 3])
    assert shared.grad.tolist() == pytest.approx([4.0, 4.0])
    assert balance.report()["gradient/boxes"] == pytest.approx(3 * math.sqrt(2))


def test_frozen_weights_no_longer_follow_the_gradients(shared):
    balance = EqualGradients(["road", "boxes"], warmup=1, window=1)
    run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)
    factor = balance.factor.clone()

    run(balance, losses_of(shared, road=50.0, boxes=1.0), shared)

    assert torch.equal(balance.factor, factor)


def test_wishes_multiply_the_equal_weights(shared):
    balance = EqualGradients(["road", "boxes"], {"road": 0.5}, warmup=1, window=1)
    run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)

    assert balance.report()["weight/road"] == pytest.approx(1.0)
    assert balance.report()["weight/boxes"] == pytest.approx(2 / 3)


def test_a_task_that_is_absent_from_some_passes_is_averaged_over_those_it_has(shared):
    balance = EqualGradients(["road", "boxes"], warmup=3, window=3)
    run(balance, losses_of(shared, road=1.0), shared)
    run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)
    run(balance, losses_of(shared, boxes=3.0), shared)

    assert balance.factor.tolist() == pytest.approx([2.0, 2 / 3])


def test_a_task_that_never_came_or_does_not_reach_the_encoder_keeps_its_weight(shared):
    balance = EqualGradients(["road", "boxes", "lane"], warmup=1, window=1)
    own = nn.Parameter(torch.tensor(2.0))
    run(balance, {"road": shared.sum(), "boxes": own * 3.0}, shared)

    assert balance.factor.tolist() == [1.0, 1.0, 1.0]


def test_factors_keep_within_the_limit(shared):
    balance = EqualGradients(["road", "boxes"], warmup=1, window=1, limit=5.0)
    run(balance, losses_of(shared, road=1.0, boxes=999.0), shared)

    assert balance.factor.tolist() == pytest.approx([5.0, 500 / 999])


def test_without_a_warm_up_norms_are_logged_and_nothing_else(shared):
    balance = EqualGradients(["road", "boxes"], warmup=None, every=1)
    for _ in range(3):
        run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)

    assert balance.factor.tolist() == [1.0, 1.0]
    assert balance.report()["gradient/road"] == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EqualGradients(["road", "boxes"], warmup=3, window=2),
        lambda: DWA(["road", "boxes"], window=2),
        lambda: FAMO(["road", "boxes"]),
        lambda: GradNorm(["road", "boxes"]),
    ],
    ids=["equal", "dwa", "famo", "gradnorm"],
)
def test_a_balance_goes_on_bit_equal_from_its_state(make, shared):
    steps = [losses_of(shared, road=1.0 / (i + 1), boxes=3.0 + i) for i in range(8)]
    whole, first = make(), make()
    totals = [run(whole, step, shared) for step in steps]
    for step in steps[:4]:
        run(first, losses_of(shared, **{t: float(x.detach()) / 2 for t, x in step.items()}), shared)
    second = make()
    second.load_state_dict(first.state_dict())

    rest = [
        run(second, step, shared)
        for step in [losses_of(shared, road=1.0 / (i + 1), boxes=3.0 + i) for i in range(4, 8)]
    ]

    assert rest == totals[4:]
    assert all(
        torch.equal(a, b) or (a != a).all()
        for a, b in zip(second.state_dict().values(), whole.state_dict().values(), strict=True)
    )


def test_dynamic_weight_average_by_hand(shared):
    """Road halves (r = 0.5), boxes stay (r = 1): softmax(0.25, 0.5) * 2."""
    balance = DWA(["road", "boxes"], window=1, temperature=2.0)
    run(balance, losses_of(shared, road=4.0, boxes=1.0), shared)
    run(balance, losses_of(shared, road=2.0, boxes=1.0), shared)

    share = math.exp(0.25) / (math.exp(0.25) + math.exp(0.5))
    assert balance.weight.tolist() == pytest.approx([2 * share, 2 - 2 * share])


def test_dynamic_weight_average_leaves_an_absent_task_alone(shared):
    balance = DWA(["road", "boxes"], window=1)
    for loss in (4.0, 2.0, 1.0):
        run(balance, losses_of(shared, road=loss), shared)

    assert balance.weight.tolist() == [1.0, 1.0]
    assert balance.last[0] == 2.0
    assert balance.last[1].isnan()


def test_famo_weighs_by_share_over_loss(shared):
    """z = (1/2, 1/2), losses 2 and 6: weights in the ratio 3 : 1, sum 2."""
    balance = FAMO(["road", "boxes"])

    total = run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)

    assert total == pytest.approx(1.5 * 2 + 0.5 * 6)


def test_famo_turns_to_the_task_that_did_not_fall(shared):
    """Adam's first step is the learning rate in the sign of the gradient."""
    balance = FAMO(["road", "boxes"], lr=0.1, weight_decay=0.0)
    run(balance, losses_of(shared, road=2.0, boxes=1.0), shared)
    run(balance, losses_of(shared, road=1.0, boxes=1.0), shared)

    assert balance.logits.tolist() == pytest.approx([-0.1, 0.1])


def test_famo_leaves_an_absent_task_alone(shared):
    balance = FAMO(["road", "boxes"], weight_decay=0.0)
    run(balance, losses_of(shared, road=2.0), shared)
    run(balance, losses_of(shared, road=1.0), shared)

    assert balance.logits.tolist() == [0.0, 0.0]


def test_gradnorm_by_hand():
    """Norms 1 and 3, target 2 * 1: road 1 + 0.1 * 1, boxes 1 - 0.1 * 3, scaled to the sum 2."""
    shared = nn.Parameter(torch.tensor([1.0]))
    balance = GradNorm(["road", "boxes"], lr=0.1)

    run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)

    assert balance.weight.tolist() == pytest.approx([1.1 / 1.8 * 2, 0.7 / 1.8 * 2])


def test_gradnorm_leaves_an_absent_task_alone(shared):
    balance = GradNorm(["road", "boxes", "lane"])
    run(balance, losses_of(shared, road=1.0, boxes=3.0), shared)

    assert balance.weight[2] == 1.0
    assert balance.first[2].isnan()
    assert float(balance.weight.sum()) == pytest.approx(3.0)


def test_a_frozen_encoder_has_no_gradients_to_look_at():
    own = nn.Parameter(torch.tensor(2.0))
    for balance in (EqualGradients(["road"], warmup=1), GradNorm(["road"])):
        own.grad = None
        balance.backward({"road": own * 3}, [], torch.Tensor.backward)
        assert own.grad.item() == 3.0
    assert task_gradients({"road": own * 3}, []) == {"road": ()}
