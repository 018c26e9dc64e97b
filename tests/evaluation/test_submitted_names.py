"""Names in submitted files never lead out of the prediction folder."""

import json

import pytest

from perception.errors import PerceptionError
from perception.evaluation import score
from tests.evaluation import cases


def _outside(case, way):
    """A name in the prediction folder's files that leads to the label."""
    if way == "dots":
        return f"../{case.files['gt'].relative_to(case.files['gt'].parents[1])}"
    if way == "absolute":
        return str(case.files["gt"])
    link = case.files["pred"].parent / "link.png"
    link.symlink_to(case.files["gt"])
    return link.name


@pytest.mark.parametrize("way", ["dots", "absolute", "link"])
def test_a_panoptic_json_never_points_at_the_labels(way, tmp_path):
    case = cases.panoptic(tmp_path)
    content = json.loads(case.files["pred_json"].read_text())
    content["annotations"][0]["file_name"] = _outside(case, way)
    case.files["pred_json"].write_text(json.dumps(content))

    with pytest.raises(PerceptionError, match="expected a file that lies below"):
        score(case.name, case.target, case.predicted)


@pytest.mark.parametrize("way", ["dots", "absolute", "link"])
def test_a_list_of_masks_never_points_at_the_labels(way, tmp_path):
    case = cases.cityscapes_instance(tmp_path)
    name = _outside(case, way)
    name = f"masks/{name}" if way == "link" else f"../{name}" if way == "dots" else name
    case.files["list"].write_text(f"{name} 26 0.9\n")

    with pytest.raises(PerceptionError, match="expected a file that lies below"):
        score(case.name, case.target, case.predicted)


def test_a_prediction_folder_may_itself_be_a_link(tmp_path):
    case = cases.cityscapes_instance(tmp_path)
    (tmp_path / "linked").symlink_to(case.predicted)

    linked = score(case.name, case.target, tmp_path / "linked")

    assert linked.result.headline == score(case.name, case.target, case.predicted).result.headline


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c["categories"][0].update(id="road"),
        lambda c: c["annotations"][0].update(segments_info=True),
        lambda c: c["annotations"][0]["segments_info"][0].update(id=float("inf")),
    ],
)
def test_a_value_of_the_wrong_kind_in_a_panoptic_json_is_one_line(damage, tmp_path):
    case = cases.panoptic(tmp_path)
    content = json.loads(case.files["gt_json"].read_text())
    damage(content)
    case.files["gt_json"].write_text(json.dumps(content))

    with pytest.raises(PerceptionError, match=r"gt\.json"):
        score(case.name, case.target, case.predicted)
