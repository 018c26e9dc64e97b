import pickle

import numpy as np
import pytest
import torch

from perception.data.augment import Augment
from perception.data.datasets import open_dataset
from perception.data.loader import BatchStream
from perception.errors import PerceptionError
from tests.data.folders import camvid

STEPS = {
    "colour": {"_target_": "albumentations.ColorJitter", "p": 0.5},
    "noise": {"_target_": "albumentations.GaussNoise", "p": 0.5},
}


@pytest.fixture
def dataset(tmp_path):
    root = camvid(tmp_path)
    return open_dataset("camvid", root, str(root / "all.txt"), tasks=["semantic", "road"])


def stream(dataset, workers=0, **options):
    augment = Augment((16, 24), view={"scale": (0.5, 2.0), "balance": 0.5}, steps=STEPS)
    return BatchStream(dataset, augment, batch_size=3, workers=workers, **options)


def equal(a, b):
    return (
        a.keys == b.keys
        and torch.equal(a.image, b.image)
        and torch.equal(a.road, b.road)
        and torch.equal(a.semantic, b.semantic)
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_step_is_the_same_whatever_the_workers_and_the_first_step(dataset, workers):
    expected = [stream(dataset).batch(t) for t in range(5)]

    made = stream(dataset, workers).iterate(start_step=2)

    assert all(equal(next(made), expected[t]) for t in (2, 3, 4))


def test_prefetching_leaves_the_global_random_state_alone(dataset):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()

    next(stream(dataset, workers=1).iterate())
    next(stream(dataset, workers=0).iterate())

    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_a_step_has_one_of_the_sizes(dataset):
    sizes = [(16, 16), (24, 32)]

    seen = [tuple(stream(dataset, sizes=sizes).batch(t).image.shape[2:]) for t in range(8)]

    assert sorted(seen) == [(16, 16)] * 4 + [(24, 32)] * 4


def test_a_stream_can_be_sent_to_another_process(dataset):
    dataset.frame(0)
    augment = Augment((16, 24), view={}, steps=STEPS)
    original = BatchStream(dataset, augment, batch_size=3)

    assert equal(pickle.loads(pickle.dumps(original)).batch(1), original.batch(1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_in_one_line(dataset, workers):
    image = dataset.frames[0].image
    image.write_bytes(image.read_bytes()[:60])
    batches = stream(dataset, workers).iterate()

    with pytest.raises(PerceptionError, match=r"A_000\.png: found .*image"):
        for _ in range(3):
            next(batches)
