import numpy as np
import pytest
import torch

from perception.data.augment import Augment
from perception.data.build import build_augment, build_sets, declared_of
from perception.data.datasets import frames_of_class
from perception.errors import PerceptionError
from tests.data.folders import camvid


@pytest.fixture
def options(tmp_path):
    root = camvid(tmp_path)
    return {
        "root": str(root),
        "train": str(root / "all.txt"),
        "val": None,
        "tasks": ["semantic", "road"],
        "batch_size": 4,
    }


NOISE = {"_target_": "albumentations.GaussNoise", "p": 1.0}


def build(**sets):
    return build_sets({"sets": sets}, Augment((16, 24), view={}))


def test_a_set_makes_batches_with_the_labels_of_its_tasks(options):
    (both,), (road,) = build(camvid=options), build(camvid={**options, "tasks": ["road"]})

    batch, road_only = (s.stream(seed=0, workers=0).batch(0) for s in (both, road))

    assert batch.semantic.shape == batch.road.shape == (4, 16, 24)
    assert batch.boxes is None
    assert road_only.semantic is None
    assert declared_of([both]).class_names("semantic")[3] == "road"
    assert declared_of([road]).schemes == declared_of([road]).boxes == {}


def test_a_set_does_not_depend_on_the_sets_beside_it(options):
    alone, *_ = build(a={**options, "dataset": "camvid"})
    _, beside = build(b={**options, "dataset": "camvid"}, a={**options, "dataset": "camvid"})

    first, second = (s.stream(seed=1, workers=0).batch(3) for s in (alone, beside))

    assert torch.equal(first.image, second.image)


def test_processes_together_make_the_batch_of_one(options):
    (one,) = build(camvid=options)
    whole = one.stream(seed=0, workers=0).batch(5)

    parts = [one.stream(seed=0, workers=0, rank=r, processes=2).batch(5) for r in (0, 1)]

    assert torch.equal(torch.cat([p.image for p in parts]), whole.image)
    assert parts[0].keys + parts[1].keys == whole.keys


def test_frames_can_be_drawn_by_class(options):
    (balanced,) = build(camvid={**options, "balanced": True})
    dataset = balanced.train
    labels = np.stack([dataset.target(dataset.frame(i), "semantic").array for i in range(4)])

    pools = balanced.stream(seed=0, workers=0).frames_of_class

    shown = [np.flatnonzero((labels == c).any((1, 2))).tolist() for c in range(11)]
    assert pools == [frames for frames in shown if frames] == frames_of_class(dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rot": "x"}, r"data\.sets\.camvid\.rot: found an unknown option"),
        ({"root": None}, r"data\.sets\.camvid\.root: found nothing"),
        ({"tasks": ["depth"]}, "camvid: tasks: found depth, expected some of road"),
        ({"tasks": ["boxes"]}, "carries no boxes"),
        ({"dataset": "camvit"}, "found no such packaged data set, expected one of .*camvid"),
        ({"train": {"splid": "train"}}, r"camvid\.train\.splid: found an unknown option"),
        ({"train": {"split": "train", "exclude": ["*"]}}, "patterns that leave some"),
        ({"merge": "nothing"}, "nothing.yaml"),
    ],
)
def test_a_wrong_option_is_named(options, change, message):
    if "train" in change and "exclude" in change["train"]:
        change = {"train": {**change["train"], "split": options["train"]}}

    with pytest.raises(PerceptionError, match=message):
        build(camvid={**options, **change})


def test_a_batch_that_does_not_divide_among_processes_is_an_error(options):
    (one,) = build(camvid=options)

    with pytest.raises(PerceptionError, match="batch_size: found 4, expected a multiple of the 3"):
        one.stream(seed=0, processes=3)


def test_a_set_can_change_single_options_of_the_common_augmentation(options):
    common = Augment((16, 24), view={"scale": (1, 2), "flip": 0}, steps={"a": NOISE, "b": NOISE})
    own = {"size": [8, 8], "view": {"scale": [3, 3]}, "steps": {"b": None}}

    (made,) = build_sets({"sets": {"camvid": {**options, "augment": own}}}, common)

    assert made.augment.size == (8, 8)
    assert (made.augment.view.scale, made.augment.view.flip) == ((3, 3), 0)
    assert len(made.augment.compose.transforms) == 1
    assert len(common.compose.transforms) == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, r"augment\.size: found nothing"),
        ({"size": [8, 8], "flipp": 1}, r"augment\.flipp: found an unknown option"),
        ({"size": [8, 8], "view": {"flipp": 1}}, r"augment\.view\.flipp: found an unknown"),
    ],
)
def test_a_wrong_augmentation_is_named(table, message):
    with pytest.raises(PerceptionError, match=message):
        build_augment({"_target_": "perception.data.augment.Augment", **table})
