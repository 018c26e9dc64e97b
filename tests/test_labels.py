import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.labels import load_map, load_scheme

SCHEME = """
name: tiny
labels:
  - {name: void, id: 0, train_id: 255, color: [0, 0, 0], ignore: true}
  - {name: road, id: 7, train_id: 0, color: [128, 64, 128]}
  - {name: car, id: 26, train_id: 1, color: [0, 0, 142], has_instances: true}
  - {name: bus, id: 28, train_id: 2, color: [0, 60, 100], has_instances: true}
"""
MERGE = """
name: merged
labels:
  - {name: road, id: 0, color: [128, 64, 128]}
  - {name: vehicle, id: 1, color: [0, 0, 142]}
map:
  tiny: {road: road, car: vehicle, bus: vehicle}
"""


@pytest.fixture
def schemes(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SCHEME)
    (tmp_path / "merged.yaml").write_text(MERGE)
    tiny = load_scheme(tmp_path / "tiny.yaml")
    return tiny, load_map(tiny, tmp_path / "merged.yaml")


def test_ids_and_train_ids_follow_from_the_table(schemes):
    tiny, _ = schemes

    assert tiny.names == ("road", "car", "bus")
    assert tiny.id_to_train[[0, 7, 26, 28, 99]].tolist() == [255, 0, 1, 2, 255]
    assert tiny.train_to_id[[0, 1, 2]].tolist() == [7, 26, 28]


def test_merging_the_confusion_equals_the_confusion_of_merged_labels(schemes):
    tiny, merge = schemes
    target, predicted = np.random.default_rng(0).integers(0, 3, (2, 500)).astype(np.uint8)

    def confusion(t, p, classes):
        return np.bincount(t.astype(int) * classes + p, minlength=classes**2).reshape(classes, -1)

    merged = confusion(merge(target), merge(predicted), 2)
    np.testing.assert_array_equal(merge.merge_confusion(confusion(target, predicted, 3)), merged)


def test_a_map_must_name_every_class(schemes, tmp_path):
    (tmp_path / "gap.yaml").write_text(MERGE.replace(", bus: vehicle", ""))

    with pytest.raises(PerceptionError, match=r"map\.tiny\.bus: found None, expected ignore or"):
        load_map(schemes[0], tmp_path / "gap.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train_id: 2,", "train_id: 5,", "found train ids 0, 1, 5, expected 0 to 2 without gaps"),
        ("train_id: 2,", "train_id: 1,", "found train_id 1 twice: car and bus"),
        ("train_id: 2,", "train_id: 300,", "found train ids 0, 1, 300"),
        ("train_id: 2,", "train_id: two,", "class bus: train_id: found 'two'"),
        ("name: bus", "name: car", "found name car twice"),
        ("id: 28", "id: 26", "found id 26 twice: car and bus"),
        ("id: 28", "id: 256", "class bus: id: found 256, expected at most 255"),
        ("[0, 60, 100]", "[0, 60, 300]", r"class bus: color: found \[0, 60, 300\]"),
        ("[0, 60, 100]", "[0, 60]", r"class bus: color: found \[0, 60\]"),
        ("[0, 60, 100]", "red", "class bus: color: found red"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused_where_it_is_read(tmp_path, old, new, message):
    assert old in SCHEME
    (tmp_path / "tiny.yaml").write_text(SCHEME.replace(old, new))

    with pytest.raises(PerceptionError, match=message):
        load_scheme(tmp_path / "tiny.yaml")
