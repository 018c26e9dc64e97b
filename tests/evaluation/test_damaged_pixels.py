"""Damaged files: each ends in an error that names the file, or in a score that is defined."""

import json

import cv2
import numpy as np
import pytest

from perception.cli import main
from perception.errors import PerceptionError
from perception.evaluation import score
from tests.evaluation import cases

ALIEN = "ä".encode("latin-1")


def truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def without_its_end(path):
    path.write_bytes(path.read_bytes()[:-12])


def empty(path):
    path.write_bytes(b"")


def text_instead(path):
    path.write_text("not what the name says")


def random_bytes(path):
    path.write_bytes(np.random.default_rng(1).bytes(500))


def a_flipped_bit(path):
    data = bytearray(path.read_bytes())
    at = data.find(b"IDAT") + 14
    data[at] ^= 0x10
    path.write_bytes(bytes(data))


def a_swallowed_chunk(path):
    data = path.read_bytes()
    at = data.find(b"IDAT") - 4
    path.write_bytes(data[:at] + data[-12:])


def a_giant_header(path):
    data = bytearray(path.read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    path.write_bytes(bytes(data))


def one_column_narrower(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), np.ascontiguousarray(image[:, :-1]))


def with_alpha(path):
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    cv2.imwrite(str(path), np.dstack([image, np.full(image.shape[:2], 128, np.uint8)]))


def in_colours(path):
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), cv2.applyColorMap(grey, cv2.COLORMAP_JET))


def sixteen_bit(path):
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), grey.astype(np.uint16) * 256 + 77)


def values_too_high(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    image[5, 5] = 250
    cv2.imwrite(str(path), image)


def missing(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


def a_link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere.png")


def not_utf8(path):
    path.write_bytes(path.read_bytes() + ALIEN)


IMAGE = (
    truncated,
    without_its_end,
    empty,
    text_instead,
    random_bytes,
    a_flipped_bit,
    a_swallowed_chunk,
    a_giant_header,
    one_column_narrower,
    with_alpha,
    in_colours,
    sixteen_bit,
    values_too_high,
    missing,
    a_folder,
    a_link_to_itself,
    a_link_to_nothing,
)
FILE = (
    truncated,
    empty,
    text_instead,
    random_bytes,
    missing,
    a_folder,
    a_link_to_itself,
    a_link_to_nothing,
    not_utf8,
)

# (benchmark, role) -> damages that leave a defined score: the definition reads these files so.
DEFINED = {
    ("road", "gt"): {
        with_alpha,
        in_colours,
        values_too_high,
    },  # colours alone decide, above 0 counts
    ("road", "pred"): {sixteen_bit, values_too_high},
    ("bev", "gt"): {with_alpha, in_colours, values_too_high},
    ("bev", "pred"): {sixteen_bit, values_too_high},
    ("raw", "gt"): {with_alpha, values_too_high},  # other colours are not evaluated
    ("cityscapes_instance", "pred"): {sixteen_bit, values_too_high},  # any value above 0
    ("panoptic", "gt"): {with_alpha, in_colours, values_too_high},  # ids outside the JSON
    ("panoptic", "pred"): {with_alpha},
    ("bdd", "gt"): {values_too_high},  # grey values
}
ROLES = [
    (make, role)
    for make, roles in (
        (cases.road, ("gt", "pred")),
        (cases.bev, ("gt", "pred")),
        (cases.raw, ("gt",)),
        (cases.cityscapes_pixel, ("gt", "pred", "instances")),
        (cases.cityscapes_instance, ("gt", "pred")),
        (cases.panoptic, ("gt", "pred")),
        (cases.semantic, ("gt", "pred")),
        (cases.bdd, ("gt", "pred")),
    )
    for role in roles
]


def outcome_of(case):
    return score(case.name, case.target, case.predicted, **case.options)


def named(error, path):
    """The message names the file; where it is the only label and not there, its folder; where a
    frame has no file, the frame.
    """
    frame = "_".join(path.stem.split("_")[:3])
    alone = not path.exists() and any(
        f"{parent}: found no" in str(error) for parent in path.parents
    )
    return path.name in str(error) or frame in str(error) or alone


@pytest.mark.parametrize(("make", "role"), ROLES, ids=lambda v: getattr(v, "__name__", v))
def test_a_damaged_image_is_named_or_defined(make, role, tmp_path):
    for damage in IMAGE:
        case = make(tmp_path / damage.__name__)
        damage(case.files[role])
        if damage in DEFINED.get((make.__name__, role), ()):
            assert outcome_of(case).result.values
            continue
        with pytest.raises(PerceptionError) as caught:
            pytest.fail(f"{damage.__name__} scored {outcome_of(case).result.headline}")
        by_set = "no pixel of the road's colour" in str(caught.value)  # no single file is to blame
        assert by_set or named(caught.value, case.files[role]), damage.__name__


@pytest.mark.parametrize(
    ("make", "role"),
    [
        (cases.bev, "calib"),
        (cases.raw, "pred"),
        (cases.cityscapes_instance, "list"),
        (cases.panoptic, "gt_json"),
        (cases.panoptic, "pred_json"),
    ],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_a_damaged_file_is_named_or_defined(make, role, tmp_path):
    for damage in FILE:
        case = make(tmp_path / damage.__name__)
        damage(case.files[role])
        # trailing bytes after the array, and an empty list of masks, are defined
        if (role, damage) in (("pred", not_utf8), ("list", empty)):
            assert outcome_of(case).result.values
            continue
        with pytest.raises(PerceptionError) as caught:
            pytest.fail(f"{damage.__name__} scored {outcome_of(case).result.headline}")
        assert named(caught.value, case.files[role]), damage.__name__


@pytest.mark.parametrize(
    "line",
    [
        "masks/ulm_000000_000019_0.png 26",
        "masks/ulm_000000_000019_0.png 26 0.9 1",
        "26 0.9",
        "masks/ulm_000000_000019_0.png car 0.9",
        "masks/ulm_000000_000019_0.png 26 nan",
        "masks/ulm_000000_000019_0.png 26 inf",
        "masks/ulm_000000_000019_0.png 99 0.9",
        "../gt/ulm_000000_000019_gtFine_instanceIds.png 26 0.9",
        "masks/none.png 26 0.9",
        "masks 26 0.9",
        "masks/ulm_000000_000019_0.png  26 0.9",
    ],
)
def test_a_wrong_line_of_a_list_of_masks_is_named(line, tmp_path):
    case = cases.cityscapes_instance(tmp_path)
    case.files["list"].write_text(f"\n{line}\n")

    with pytest.raises(PerceptionError, match=r"ulm_000000_000019\.txt, line 2|masks") as caught:
        outcome_of(case)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.full((40, 64), np.nan),
        np.full((40, 64), -0.1),
        np.full((40, 64), 1.5),
        np.full((40, 64), np.inf),
        np.zeros((40, 63)),
        np.zeros((1, 40, 64)),
        np.zeros((40, 64), int),
        np.zeros((40, 64), np.float16),
        np.zeros((0, 0)),
        np.array({"a": 1}, object),
    ],
)
def test_a_wrong_float_map_is_named(array, tmp_path):
    case = cases.raw(tmp_path)
    np.save(case.files["pred"], array, allow_pickle=True)

    with pytest.raises(PerceptionError, match=r"uu_road_000000\.npy"):
        outcome_of(case)


@pytest.mark.parametrize(
    ("old", "new", "mention"),
    [
        ("P2: 40", "P2: x", "P2"),
        ("P2: 40", "P2: nan", "P2"),
        ("P2: 40 0", "P2: 40", "P2"),
        ("R0_rect", "R1_rect", "R0_rect"),
        ("P2:", "P2", "colon"),
        ("Tr_cam_to_road: 1 0 0 0 0 1 0 -1.6 0 0 1 0", "", "Tr_cam_to_road"),
        ("1 0 0 0 0 1 0 -1.6 0 0 1 0", "0 0 0 0 0 0 0 0 0 0 0 0", "Tr_cam_to_road"),
    ],
)
def test_a_wrong_calibration_is_named_with_its_matrix(old, new, mention, tmp_path):
    case = cases.bev(tmp_path)
    case.files["calib"].write_text(cases.CALIBRATION.replace(old, new))

    with pytest.raises(PerceptionError, match=mention) as caught:
        outcome_of(case)
    assert "uu_000000.txt" in str(caught.value)


def without(key):
    def change(content):
        del content["annotations"][0][key]

    return change


@pytest.mark.parametrize(
    ("side", "change"),
    [
        ("gt", without("image_id")),
        ("gt", without("file_name")),
        ("pred", without("segments_info")),
        ("gt", lambda c: c.pop("categories")),
        ("gt", lambda c: c.pop("annotations")),
        ("gt", lambda c: c.update(annotations=[])),
        ("pred", lambda c: c.update(annotations=[])),
        ("pred", lambda c: c["annotations"].append(c["annotations"][0])),
        ("gt", lambda c: c["annotations"][0]["segments_info"][0].pop("area")),
        ("pred", lambda c: c["annotations"][0]["segments_info"].pop()),
        ("pred", lambda c: c["annotations"][0]["segments_info"][0].update(id=999)),
        ("pred", lambda c: c["annotations"][0]["segments_info"][0].update(id="seven")),
        ("pred", lambda c: c["annotations"][0]["segments_info"][0].update(category_id=999)),
        (
            "pred",
            lambda c: c["annotations"][0]["segments_info"].append(
                c["annotations"][0]["segments_info"][0]
            ),
        ),
        ("pred", lambda c: c["annotations"][0].update(file_name="none.png")),
    ],
)
def test_a_wrong_panoptic_json_is_named(side, change, tmp_path):
    case = cases.panoptic(tmp_path)
    content = json.loads(case.files[f"{side}_json"].read_text())
    change(content)
    case.files[f"{side}_json"].write_text(json.dumps(content))

    with pytest.raises(PerceptionError, match=rf"{side}\.json|none\.png"):
        outcome_of(case)


def test_double_files_are_refused_by_name(tmp_path):
    case = cases.cityscapes_pixel(tmp_path)
    copy = case.files["pred"].with_name("ulm_000000_000019_other.png")
    copy.write_bytes(case.files["pred"].read_bytes())
    with pytest.raises(PerceptionError, match=r"ulm_000000_000019.*2 predictions"):
        outcome_of(case)
    copy.unlink()
    label = tmp_path / "gt" / "copy" / case.files["gt"].name
    label.parent.mkdir()
    label.write_bytes(case.files["gt"].read_bytes())
    with pytest.raises(PerceptionError, match="a second label of ulm_000000_000019"):
        outcome_of(case)


def test_a_loop_of_linked_folders_ends(tmp_path):
    case = cases.cityscapes_pixel(tmp_path)
    (tmp_path / "pred" / "ulm" / "again").symlink_to(tmp_path / "pred")
    (tmp_path / "gt" / "loop").symlink_to("loop")

    assert outcome_of(case).result.values["num_images"] == 1


def test_instances_of_kitti_and_of_another_frame_are_refused(tmp_path):
    case = cases.cityscapes_pixel(tmp_path)
    labels, instances, _ = cases._street()
    cases.write_png(case.files["instances"], labels.astype(np.uint16) * 256 + 1)
    with pytest.raises(PerceptionError, match=r"instanceIds\.png.*KITTI stores id \* 256"):
        outcome_of(case)
    cases.write_png(case.files["instances"], np.roll(instances, 5, axis=0))
    with pytest.raises(PerceptionError, match=r"instanceIds\.png.*do not belong together"):
        outcome_of(case)


def test_train_ids_are_refused_with_a_hint(tmp_path):
    case = cases.cityscapes_pixel(tmp_path)
    labels, _, _ = cases._street()
    train = np.select([labels == 7, labels == 23, labels == 26], [0, 10, 13], 255).astype(np.uint8)
    cases.write_png(case.files["pred"], train)
    with pytest.raises(PerceptionError, match=r"value 255.*train ids"):
        outcome_of(case)
    cases.write_png(case.files["pred"], np.where(train == 255, 2, train))
    with pytest.raises(PerceptionError, match="look like train ids"):
        outcome_of(case)


@pytest.mark.parametrize("make", cases.ALL, ids=lambda v: v.__name__)
def test_the_command_line_never_shows_a_traceback(make, tmp_path, capsys):
    case = make(tmp_path)
    empty(case.files["pred"])
    extra = [f"--{key}={value}" for key, value in case.options.items()]

    code = main(
        ["score", case.name, "--gt", str(case.target), "--pred", str(case.predicted), *extra]
    )

    assert code == 1
    assert "Traceback" not in capsys.readouterr().err
