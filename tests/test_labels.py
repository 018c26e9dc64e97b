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
