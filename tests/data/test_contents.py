"""What a training says of its data sets before the first step."""

import numpy as np
import pytest

from perception.data.augment import Augment
from perception.data.build import build_sets
from perception.data.contents import training_contents
from perception.errors import PerceptionError
from perception.files import write_image
from perception.tasks import Kind
from tests.data.folders import camvid

MANIFEST = """
name: own
key: "{frame}"
layout: {image: "i/{frame}.png", mask: "m/{frame}", depth: "d/{frame}", boxes: "b/{frame}.txt"}
splits: {all: {}}
targets:
  mask: {kind: mask}
  depth: {kind: values, scale: 0.01, unit: m}
boxes: {car: {types: [Car], neighbours: [Van]}, person: {types: [Pedestrian]}}
"""
LINE = " 0.00 0 -1.57 10 10 30 30 1.5 1.6 3.9 1.8 1.5 8.4 0.0\n"


def sets(**options):
    return build_sets({"sets": options}, Augment((16, 24), view={}))


def own(root, frames=3, names=("car", "VAN", "Tram", "DontCare")):
    (root / "b").mkdir(parents=True)
    (root / "dataset.yaml").write_text(MANIFEST)
    mask = np.zeros((8, 9), np.uint8)
    mask[0], mask[1] = 1, 255
    for n in range(frames):
        write_image(root / f"i/{n}.png", np.zeros((8, 9, 3), np.uint8))
        write_image(root / f"m/{n}.png", mask)
        write_image(root / f"d/{n}.png", (mask == 1).astype(np.uint16) * 500)
        (root / f"b/{n}.txt").write_text("".join(name + LINE for name in names))
    return {
        "dataset": str(root / "dataset.yaml"),
        "root": str(root),
        "train": "all",
        "val": None,
        "tasks": ["mask", "depth", "boxes"],
        "batch_size": 1,
    }


def test_every_kind_of_task_is_counted_as_it_is_trained(tmp_path):
    (part,) = training_contents(sets(own=own(tmp_path))).parts

    assert part.kinds == {"mask": Kind.MASK, "depth": Kind.VALUES, "boxes": Kind.BOXES}
    assert part.held == {
        "mask": {"mask": 27, "not mask": 162, "ignored": 27},
        "depth": {"known": 27, "ignored": 189},
        "boxes": {"car": 3, "person": 0, "ignored": 6, "of no class": 3},
    }


def test_a_class_that_nothing_shows_is_one_warning(tmp_path):
    contents = training_contents(sets(own=own(tmp_path)))

    assert list(contents.warnings()) == ["own, train: boxes: nothing of person in 3 frames"]


def test_a_task_that_nothing_shows_is_an_error(tmp_path):
    contents = training_contents(sets(own=own(tmp_path, names=["Tram"])))

    with pytest.raises(PerceptionError, match="data set own: found nothing of the task boxes"):
        list(contents.warnings())


def test_a_set_without_objects_is_fine_beside_one_with_them(tmp_path):
    options = {
        "full": own(tmp_path / "a", names=["Car", "Pedestrian"]),
        "empty": own(tmp_path / "b", names=[]),
    }

    assert list(training_contents(sets(**options)).warnings()) == []


def test_classes_are_counted_after_merging_and_frames_that_were_left_out_are_told(tmp_path):
    root = camvid(tmp_path)
    (root / "train/notes.md").write_text("")
    options = {
        "root": str(root),
        "train": {"split": str(root / "all.txt"), "limit": 3},
        "val": str(root / "all.txt"),
        "tasks": ["semantic"],
        "batch_size": 1,
    }

    contents = training_contents(sets(camvid=options))

    train, val = contents.parts
    assert sum(train.held["semantic"].values()) == 3 * 24 * 32
    assert train.frames_in_words == (
        "3 of 4 frames, 1 left out by include, exclude or limit; files beside the images, "
        "not used: 1 .md"
    )
    assert (val.frames, val.not_chosen) == (4, 0)
    assert contents.shared == {"camvid": 3}
    assert list(contents.warnings())[-1] == "camvid: 3 validation frames are also trained on"


def test_of_many_frames_a_sample_is_counted_and_said(tmp_path):
    contents = training_contents(sets(own=own(tmp_path, 9)), sample=3)

    assert contents.parts[0].counted == 3
    assert contents.parts[0].held["boxes"]["car"] == 3
    assert (
        next(contents.lines())
        == "own, train: 9 frames (labels counted in 3 of them, evenly spread)"
    )


def test_where_a_sample_shows_nothing_of_a_task_the_rest_is_searched(tmp_path):
    options = own(tmp_path, 9, names=[])
    (tmp_path / "b/7.txt").write_text("Car" + LINE)

    contents = training_contents(sets(own=options), sample=3)

    assert contents.parts[0].held["boxes"]["car"] == 1
    assert contents.parts[0].counted == 8
