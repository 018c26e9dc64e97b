"""The packaged choices of `data` and `augment`."""

import numpy as np
import pytest

from perception.data.batch import Sample, SampleBoxes
from perception.data.build import OPTIONS, build_augment, declared
from perception.experiments.config import compose_config, options_of
from perception.files import packaged, read_yaml


@pytest.mark.parametrize("name", options_of("augment"))
def test_a_packaged_augmentation_works_and_keeps_ids(name):
    augment = build_augment(read_yaml(packaged("conf", "augment", f"{name}.yaml")))
    label = np.arange(200 * 300, dtype=np.uint32).reshape(200, 300) % 7
    boxes = SampleBoxes(np.array([[20.0, 30, 90, 120]]), np.array([1]), np.array([False]))
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    sample = Sample(
        "a", image, road=(label < 3).astype(np.uint8), semantic=label.astype(np.uint8), boxes=boxes
    )

    for seed in range(12):
        made = augment(sample, seed)
        assert made.image.shape == (*augment.size, 3)
        assert made.image.dtype == np.uint8
        assert set(np.unique(made.semantic)) <= {*range(7), 255}
        np.testing.assert_array_equal(made.road == 1, made.semantic < 3)


@pytest.mark.parametrize("name", options_of("data"))
def test_a_packaged_choice_of_data_sets_is_complete(name):
    config = compose_config([f"data={name}"])

    for options in config.data.sets.values():
        assert set(options) <= set(OPTIONS)
        assert options.root and options.tasks and options.batch_size
    known = declared(config.data)
    tasks = {t for options in config.data.sets.values() for t in options.tasks}
    assert set(known.tasks) == tasks
    assert bool(known.class_names("semantic")) == ("semantic" in tasks)
    assert bool(known.class_names("boxes")) == ("boxes" in tasks)
