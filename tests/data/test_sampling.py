import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.data.sampling import (
    balanced_indices,
    batch_indices,
    choice_of_step,
    sample_seed,
    scrambled,
)


@settings(deadline=None, max_examples=30)
@given(frames=st.integers(1, 30), batch=st.integers(1, 7), seed=st.integers(0, 99))
def test_every_epoch_shows_every_frame_once(frames, batch, seed):
    drawn = [
        i for t in range(frames) for i in batch_indices(seed, t, frames=frames, batch_size=batch)
    ]

    for epoch in range(batch):
        assert sorted(drawn[epoch * frames : (epoch + 1) * frames]) == list(range(frames))


def test_epochs_and_seeds_differ():
    first, second = (batch_indices(0, t, frames=50, batch_size=50) for t in (0, 1))

    assert first != second
    assert first != batch_indices(1, 0, frames=50, batch_size=50)


def test_a_data_set_of_ninety_to_ten_is_drawn_half_and_half():
    label = np.array([0] * 90 + [1] * 10)
    pools = [np.flatnonzero(label == c).tolist() for c in (0, 1)]

    drawn = [
        i for t in range(250) for i in balanced_indices(3, t, frames_of_class=pools, batch_size=4)
    ]

    assert 0.45 <= label[drawn].mean() <= 0.55
    assert set(drawn) == set(range(100))


def test_sizes_are_drawn_equally():
    sizes = [400, 500, 600, 700, 800]

    drawn = [choice_of_step(7, t, sizes) for t in range(500)]

    assert [drawn.count(s) for s in sizes] == [100] * 5
    assert drawn[:5] != drawn[5:10]


def test_sample_seeds_do_not_repeat():
    seeds = {sample_seed(0, t, i) for t in range(100) for i in range(8)}

    assert len(seeds) == 800


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3000), st.integers(0, 2**31), st.integers(0, 5))
def test_an_order_that_is_never_written_down_has_every_index_once(options, seed, epoch):
    drawn = [scrambled(seed, epoch, i, options) for i in range(options)]

    assert sorted(drawn) == list(range(options))


def test_orders_that_are_never_written_down_differ_by_seed_and_epoch_and_look_random():
    orders = [
        [scrambled(seed, epoch, i, 5000) for i in range(5000)]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]

    for a, b in itertools.combinations([*orders, list(range(5000))], 2):
        assert sum(x == y for x, y in zip(a, b, strict=True)) < 12  # one on average
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.06  # four standard deviations


def test_a_batch_of_a_billion_frames_needs_no_table():
    drawn = batch_indices(3, 10**6, frames=10**9, batch_size=64)

    assert drawn == batch_indices(3, 10**6, frames=10**9, batch_size=64)
    assert len(set(drawn)) == 64
    assert all(0 <= i < 10**9 for i in drawn)
    assert max(drawn) > 5 * 10**8 > min(drawn)
