"""Predictions under other names and in other forms than the first one that is looked for."""

import cv2
import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.evaluation import score
from tests.evaluation import cases

ANNOTATION = """<annotation><object><name>car</name><bndbox><xmin>1</xmin><ymin>1</ymin>
<xmax>10</xmax><ymax>10</ymax></bndbox></object></annotation>"""


@pytest.fixture
def voc(tmp_path):
    for folder in ("gt/Annotations", "gt/ImageSets/Main", "pred"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "gt/Annotations/a.xml").write_text(ANNOTATION)
    (tmp_path / "gt/ImageSets/Main/test.txt").write_text("a\n")
    return tmp_path


@pytest.mark.parametrize("name", ["car.txt", "comp4_det_val_car.txt", "comp3_det_my_set_car.txt"])
@pytest.mark.parametrize("classes", [None, ["car"]])
def test_the_names_of_the_voc_kit_are_read(name, classes, voc):
    (voc / "pred" / name).write_text("a 0.9 1 1 10 10\n")

    outcome = score("voc/area", voc / "gt", voc / "pred", classes=classes)

    assert outcome.result.headline == {"mAP": 1.0, "car AP": 1.0}


def test_two_files_of_one_voc_class_are_refused(voc):
    for name in ("car.txt", "comp4_det_val_car.txt"):
        (voc / "pred" / name).write_text("a 0.9 1 1 10 10\n")

    with pytest.raises(PerceptionError, match="a second file of car"):
        score("voc/area", voc / "gt", voc / "pred")


@pytest.mark.parametrize("make", [cases.road, cases.bev])
def test_maps_of_probabilities_score_like_their_images(make, tmp_path):
    case = make(tmp_path)
    expected = score(case.name, case.target, case.predicted, **case.options)
    confidence = cv2.imread(str(case.files["pred"]), cv2.IMREAD_UNCHANGED)
    case.files["pred"].unlink()
    np.save(case.files["pred"].with_suffix(".npy"), confidence / 255)

    found = score(case.name, case.target, case.predicted, **case.options)

    assert found.result.values == expected.result.values


def test_maps_named_like_the_images_are_explained(tmp_path):
    case = cases.road(tmp_path)
    case.files["pred"].rename(case.files["pred"].with_name("uu_000000.png"))

    with pytest.raises(PerceptionError, match=r"--pred-name '\{image\}\.png'"):
        score(case.name, case.target, case.predicted)
    assert score(case.name, case.target, case.predicted, pred_name="{image}.png").jobs


def test_road_labels_with_red_and_blue_swapped_keep_their_number_with_a_warning(tmp_path):
    case = cases.road(tmp_path)
    assert score(case.name, case.target, case.predicted).result.notes == ()
    label = cv2.imread(str(case.files["gt"]))
    cv2.imwrite(str(case.files["gt"]), label[..., ::-1])

    outcome = score(case.name, case.target, case.predicted)

    assert outcome.result.headline["uu_road MaxF1"] == pytest.approx(1.0)
    assert "are red and blue swapped?" in " ".join(outcome.result.notes)
