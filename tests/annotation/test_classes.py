from __future__ import annotations

from pathlib import Path

import pytest

from perception.annotation.classes import city_scheme, default_table, load_table, normalise
from perception.annotation.label_files import SCHEMES, label_files, label_names
from perception.errors import UsageError
from perception.files import packaged

TABLE = default_table()


@pytest.mark.parametrize(
    ("written", "name", "group", "crowd"),
    [
        ("Car", "car", None, False),
        ("  Traffic_Light ", "traffic light", None, False),
        ("traffic-light", "traffic light", None, False),
        ("ＣＡＲ", "car", None, False),
        ("_background_", "background", None, False),
        ("__ignore__", "unlabeled", None, False),
        ("行人", "person", None, False),
        ("car-1", "car", "1", False),
        ("car_02", "car", "02", False),
        ("cargroup", "car", None, True),
        ("person group", "person", None, True),
        ("polegroup", "polegroup", None, False),
        ("tram", "train", None, False),
    ],
)
def test_a_label_is_found_however_it_is_written(
    written: str, name: str, group: str | None, crowd: bool
):
    resolved = TABLE.resolve(written)

    assert (resolved.meaning.name, resolved.group, resolved.crowd) == (name, group, crowd)


@pytest.mark.parametrize("written", ["pavement", "", "group", "7", "carr", "cars 2b"])
def test_what_no_table_knows_is_unknown(written: str):
    assert TABLE.resolve(written) is None


def test_a_misspelt_label_is_told_its_nearest_name():
    assert TABLE.suggest("vegitation") == "vegetation"
    assert TABLE.suggest("xqzw") is None


def test_every_cityscapes_class_has_its_label_and_every_meaning_its_class():
    for name in city_scheme().by_name:
        assert TABLE.resolve(name).meaning.cityscapes == name
    for meaning in TABLE.meanings.values():
        assert meaning.cityscapes in city_scheme().by_name


def test_a_map_adds_overrides_and_aliases(tmp_path: Path):
    path = tmp_path / "map.yaml"
    path.write_text(
        "labels: {asphalt: road, Tuk Tuk: {as: car, kitti: Misc},"
        " puddle: {road: ignore, kitti: null, cityscapes: ground, priority: 45}, tree: sky}\n"
    )

    table = load_table(path)

    assert table.resolve("ASPHALT").meaning == TABLE.resolve("road").meaning
    assert table.resolve("tuk-tuk").meaning.kitti == "Misc"
    assert table.resolve("tuk-tuk").meaning.cityscapes == "car"
    assert table.resolve("puddle").meaning.road == "ignore"
    assert table.resolve("tree").meaning.name == "sky"  # the map wins over a synonym
    assert table.resolve("car") is not None


def test_a_map_that_extends_nothing_knows_its_own_labels_only(tmp_path: Path):
    path = tmp_path / "map.json"
    path.write_text('{"extends": null, "labels": {"a": {"kitti": "Van"}}}')

    table = load_table(path)

    meaning = table.resolve("a").meaning
    assert (meaning.road, meaning.kitti, meaning.cityscapes, meaning.priority) == (
        "nonroad",
        "Van",
        "unlabeled",
        25,
    )
    assert table.resolve("car") is None


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "labels: 3",
        "more: {}",
        "extends: other",
        "labels: {a: nosuchlabel}",
        "labels: {a: {as: car, colour: red}}",
        "labels: {a: {road: maybe}}",
        "labels: {a: {kitti: car}}",
        "labels: {a: {cityscapes: null}}",
        "labels: {a: {priority: high}}",
        "labels: {1: car}",
        "labels: {a: [",
        "labels: {a: 3}",
        "labels: {a: {road: [x]}}",
    ],
)
def test_a_wrong_map_is_wrong_usage(text: str, tmp_path: Path):
    path = tmp_path / "map.yaml"
    path.write_text(text)

    with pytest.raises(UsageError, match=r"map\.yaml"):
        load_table(path)


def test_normalising_twice_is_normalising_once():
    for text in ("__A--b  c_", "Straße", "ｆｏｏ\tbar"):
        assert normalise(normalise(text)) == normalise(text)


def test_the_label_and_flag_files_are_those_of_the_table():
    for name, text in label_files().items():
        assert packaged("annotation", name).read_text(encoding="utf-8") == text, (
            "run scripts/make_label_files.py"
        )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_annotators_choose_from_is_known_to_the_converter(scheme: str):
    for name in label_names(scheme):
        assert TABLE.resolve(name) is not None
