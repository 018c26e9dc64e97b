import pytest

from perception.data.build import build_augment, build_sets, declared
from perception.errors import PerceptionError
from perception.formats.manifest import load_manifest
from perception.lists import texts, values

MANIFEST = """
name: mine
layout: {{image: "images/{{name}}.png"}}
key: "{{name}}"
splits: {{train: {{{split}}}}}
road: {road}
boxes: {{car: {{types: {types}, neighbours: {neighbours}}}}}
labels:
  - {{name: road, id: 0, color: [1, 2, 3]}}
"""


def test_a_text_is_a_list_of_one_and_never_taken_apart():
    assert texts("uu_*", "x") == ("uu_*",)
    assert texts(["a", 1], "x") == ("a", "1")
    assert texts(None, "x") == ()
    assert values(6, "x") == (6,)


@pytest.mark.parametrize("wrong", [{"a": 1}, True, [["a"]], [None], [{"a": 1}]])
def test_what_is_no_list_is_named(wrong):
    with pytest.raises(PerceptionError, match=r"^boxes\.car\.types: found "):
        texts(wrong, "boxes.car.types")


def test_every_list_of_a_manifest_takes_a_single_text(tmp_path):
    path = tmp_path / "dataset.yaml"
    split = 'include: "uu_*", exclude: uu_000000'
    path.write_text(MANIFEST.format(split=split, road="road", types="Car", neighbours="Van"))

    manifest = load_manifest(path)

    assert manifest.road == ("road",)
    assert (manifest.boxes[0].types, manifest.boxes[0].neighbours) == (("Car",), ("Van",))
    assert manifest.splits["train"].include == ("uu_*",)
    assert manifest.splits["train"].exclude == ("uu_000000",)


@pytest.mark.parametrize("key", ["types", "neighbours", "road", "split"])
def test_a_manifest_with_a_table_for_a_list_names_the_key(key, tmp_path):
    good = {"split": "part: a", "road": "road", "types": "Car", "neighbours": "Van"}
    wrong = "include: {a: 1}" if key == "split" else "{a: 1}"
    path = tmp_path / "dataset.yaml"
    path.write_text(MANIFEST.format(**{**good, key: wrong}))

    with pytest.raises(PerceptionError, match="found a table, expected a list"):
        load_manifest(path)


def test_one_pattern_selects_what_it_says_and_one_task_is_that_task(streets):
    part = {"split": "train", "include": "umm_*"}
    options = {
        "dataset": "synthetic",
        "root": str(streets),
        "train": part,
        "val": None,
        "tasks": "boxes",
        "boxes": "car",
        "batch_size": 1,
        "sizes": [64, 96],
    }

    made = build_sets({"sets": {"mine": options}}, build_augment({"size": [64, 208]}))[0]

    assert {f.key.split("_")[0] for f in made.train.frames} == {"umm"}
    assert (made.tasks, made.train.box_names, made.sizes) == (("boxes",), ("car",), ((64, 96),))
    assert declared({"sets": {"mine": options}}).boxes == {"boxes": ("car",)}
