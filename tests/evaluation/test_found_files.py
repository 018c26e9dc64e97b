"""Every file of the two folders is scored, or counted and said."""

import json

import numpy as np
import pytest

from perception.cli import main
from perception.errors import PerceptionError
from perception.evaluation import score
from tests.evaluation import cases

MAKERS = [make for make in cases.ALL if make not in (cases.bev, cases.panoptic)]


def _values(case):
    return score(case.name, case.target, case.predicted, **case.options).result.values


@pytest.mark.parametrize("role", ["gt", "pred", "instances", "list", "calib"])
@pytest.mark.parametrize("make", [*MAKERS, cases.bev])
def test_suffixes_are_read_in_any_case(make, role, tmp_path):
    case = make(tmp_path)
    named = make is cases.cityscapes_instance and role == "pred"  # by the list, as it stands there
    if role not in case.files or named:
        pytest.skip("no such file, or one that is named by another")
    expected = _values(case)
    path = case.files[role]
    path.rename(path.with_suffix(path.suffix.upper()))

    np.testing.assert_equal(_values(case), expected)


@pytest.mark.parametrize("suffix", [".PNG", ".Png"])
def test_a_second_label_in_upper_case_counts_as_a_second_image(suffix, tmp_path):
    case = cases.road(tmp_path)
    for role in ("gt", "pred"):
        path = case.files[role]
        path.with_name(f"uu_road_000001{suffix}").write_bytes(path.read_bytes())

    outcome = score(case.name, case.target, case.predicted)

    assert [job.key for job in outcome.jobs] == ["uu_road_000000", "uu_road_000001"]
    assert outcome.left_out == ""


def test_a_label_without_a_prediction_is_missed_in_upper_case_too(tmp_path):
    case = cases.road(tmp_path)
    case.files["gt"].with_name("uu_road_000001.PNG").write_bytes(case.files["gt"].read_bytes())

    with pytest.raises(PerceptionError, match=r"uu_road_000001\.png: found no such file"):
        score(case.name, case.target, case.predicted)


@pytest.mark.parametrize("make", [cases.road, cases.semantic, cases.bdd])
def test_two_labels_of_one_name_are_refused(make, tmp_path):
    case = make(tmp_path)
    gt = case.files["gt"]
    gt.with_suffix(".PNG").write_bytes(gt.read_bytes())

    with pytest.raises(PerceptionError, match=r"a second label of|one file of that name"):
        score(case.name, case.target, case.predicted)


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_left_out_is_counted(make, tmp_path):
    case = make(tmp_path)
    target, predicted = case.files["gt"].parent, case.predicted
    for path in (target / "odd.jpg", target / "._hidden.png", predicted / "Thumbs.db"):
        path.write_bytes(b"x")
    (predicted / "odd.xyz").write_bytes(b"x")

    outcome = score(case.name, case.target, predicted, **case.options)

    assert outcome.left_out == "labels: 1 .jpg, 1 hidden; predictions: 1 .xyz, 1 hidden"


def test_the_boxes_of_other_suffixes_are_counted(tmp_path):
    for side, end in (("gt", ""), ("pred", " 0.9")):
        (tmp_path / side).mkdir()
        line = f"Car 0 0 0 10 10 60 60 1.5 1.6 4 1 1 20 0{end}"
        (tmp_path / side / "000000.TXT").write_text(f"{line}\n")
        (tmp_path / side / "._000000.txt").write_bytes(b"\xb0")
    (tmp_path / "pred" / "000001.csv").write_text("")

    outcome = score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")

    assert outcome.inventory == "1 frames"
    assert outcome.left_out == "labels: 1 hidden; predictions: 1 .csv, 1 hidden"


def test_what_is_left_out_stands_on_the_terminal_and_in_the_json(tmp_path, capsys):
    case = cases.road(tmp_path)
    (case.target / "uu_road_000001.jpg").write_bytes(b"x")
    words = ["--gt", str(case.target), "--pred", str(case.predicted)]

    assert main(["score", case.name, *words, "--json", str(tmp_path / "s.json")]) == 0

    assert "left out: labels: 1 .jpg" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["left_out"] == "labels: 1 .jpg"


@pytest.mark.parametrize("make", MAKERS)
def test_a_folder_without_labels_tells_what_it_holds(make, tmp_path):
    case = make(tmp_path)
    gt = case.files["gt"]
    gt.rename(gt.with_suffix(".jpg"))

    with pytest.raises(PerceptionError, match=r"no file that ends in .*, but .*1 \.jpg"):
        score(case.name, case.target, case.predicted, **case.options)


def test_a_linked_folder_of_labels_is_entered(tmp_path):
    case = cases.semantic(tmp_path)
    day = tmp_path / "elsewhere"
    day.mkdir()
    for role, folder in (("gt", case.target), ("pred", case.predicted)):
        (day / role).mkdir()
        (day / role / "b.png").write_bytes(case.files[role].read_bytes())
        (folder / "day2").symlink_to(day / role)

    outcome = score(case.name, case.target, case.predicted, **case.options)

    assert [job.key for job in outcome.jobs][-1] == "day2/b"
