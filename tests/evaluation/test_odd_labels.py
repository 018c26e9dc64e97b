"""Labels that were damaged on their way: the benchmark's number, with a warning, or refused."""

import cv2
import numpy as np
import PIL.Image
import pytest

from perception.errors import PerceptionError
from perception.evaluation import score
from tests.evaluation import cases


def _notes(case):
    return " ".join(score(case.name, case.target, case.predicted).result.notes)


def _rewrite(path, change):
    cv2.imwrite(str(path), change(cv2.imread(str(path))))


def _as_jpeg(path):
    path.write_bytes(cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes())


@pytest.mark.parametrize("name", ["kitti_road/perspective", "kitti_road/kittiseg_raw"])
def test_road_labels_as_the_data_set_has_them_are_not_warned_of(name, tmp_path):
    case = cases.road(tmp_path, name)
    _rewrite(case.files["gt"], lambda label: np.where(np.arange(64)[:, None] < 3, 0, label))

    assert _notes(case) == ""


def test_swapped_red_and_blue_keep_the_number_and_are_warned_of(tmp_path):
    case = cases.road(tmp_path)
    _rewrite(case.files["gt"], lambda label: label[..., ::-1])

    assert "1 label with blue pixels that are not red" in _notes(case)
    assert "(e.g. uu_road_000000.png)" in _notes(case)


def test_pixels_of_a_third_colour_are_warned_of_where_colours_are_exact(tmp_path):
    case = cases.raw(tmp_path)
    _rewrite(case.files["gt"], lambda label: np.where(np.arange(64)[:, None] < 3, 9, label))

    assert "1 label with pixels of a third colour" in _notes(case)


def test_a_road_label_of_jpeg_keeps_the_number_and_is_warned_of(tmp_path):
    case = cases.road(tmp_path)
    _as_jpeg(case.files["gt"])

    assert "1 label saved as JPEG" in _notes(case)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_road_label_resized_with_interpolation_is_warned_of(bits, tmp_path):
    case = cases.road(tmp_path)

    def shrunk(label):
        small = cv2.resize(cv2.resize(label, (48, 30)), (64, 40))
        return small if bits == 8 else small.astype(np.uint16) * 257

    _rewrite(case.files["gt"], shrunk)

    assert "1 label with colours other than magenta, red and black" in _notes(case)


def test_any_red_and_blue_above_0_counts_as_the_benchmark_has_it(tmp_path):
    case = cases.road(tmp_path)
    label = cv2.imread(str(case.files["gt"]))
    expected = score(case.name, case.target, case.predicted).result.values
    label[label == 255] = 7  # above 0 is all that counts
    cv2.imwrite(str(case.files["gt"]), label)

    outcome = score(case.name, case.target, case.predicted)

    assert outcome.result.values == expected
    assert "colours other than" in " ".join(outcome.result.notes)


def test_the_warnings_of_all_labels_are_counted_by_workers_too(tmp_path):
    case = cases.road(tmp_path)
    _as_jpeg(case.files["gt"])
    for number in range(1, 20):
        for role in ("gt", "pred"):
            path = case.files[role]
            path.with_name(f"uu_road_{number:06d}.png").write_bytes(path.read_bytes())

    outcome = score(case.name, case.target, case.predicted, workers=2)

    assert "20 labels saved as JPEG" in " ".join(outcome.result.notes)


def _two_classes(tmp_path, save):
    """Road on the left half; predicted two columns too wide of four: IoU 2/3 and 1/2 by hand."""
    table = tmp_path / "two.yaml"
    table.write_text("""name: two
labels:
  - {name: other, id: 0, color: [0, 0, 0]}
  - {name: road, id: 1, color: [255, 0, 255]}
""")
    label, predicted = np.zeros((4, 8), bool), np.zeros((4, 8), np.uint8)
    label[:, :2] = True
    predicted[:, :4] = 1
    for folder in ("gt", "pred"):
        (tmp_path / folder).mkdir()
    save(PIL.Image.fromarray(label), tmp_path / "gt" / "a.png")
    cv2.imwrite(str(tmp_path / "pred" / "a.png"), predicted)
    return score("semantic/pixel", tmp_path / "gt", tmp_path / "pred", scheme=str(table))


def test_a_label_of_one_bit_holds_the_classes_0_and_1(tmp_path):
    outcome = _two_classes(tmp_path, lambda image, path: image.save(path, bits=1))

    iou = outcome.result.values["class_iou"]
    assert iou == {"other": pytest.approx(2 / 3), "road": pytest.approx(1 / 2)}


def test_a_label_of_ids_in_a_jpeg_file_is_refused(tmp_path):
    def save(image, path):
        image.convert("L").save(path, format="JPEG", quality=90)

    with pytest.raises(PerceptionError, match="a label in a lossy JPEG file"):
        _two_classes(tmp_path, save)


@pytest.mark.parametrize(
    ("make", "role"),
    [
        (cases.semantic, "gt"),
        (cases.cityscapes_pixel, "gt"),
        (cases.cityscapes_pixel, "instances"),
        (cases.cityscapes_instance, "pred"),
        (cases.panoptic, "gt"),
        (cases.panoptic, "pred"),
        (cases.bdd, "gt"),
    ],
)
def test_ids_in_a_lossy_file_are_refused_by_every_benchmark(make, role, tmp_path):
    case = make(tmp_path)
    _as_jpeg(case.files[role])

    with pytest.raises(PerceptionError, match="lossy JPEG"):
        score(case.name, case.target, case.predicted, **case.options)
