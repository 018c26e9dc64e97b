import numpy as np
import pytest
from PIL import Image

from perception.errors import PerceptionError
from perception.files import read_raster, write_image
from perception.formats.frames import find_frames
from perception.formats.kitti_road import colours, read_label, write_label, write_lane
from perception.formats.manifest import load_manifest
from perception.structures import RoadLabel
from tests.shared import shared

M, R, K = (255, 0, 255), (255, 0, 0), (0, 0, 0)


def test_magenta_is_road_red_is_not_and_black_is_unsure(tmp_path):
    write_image(tmp_path / "label.png", np.array([[M, R, K]], np.uint8))

    label = read_label(tmp_path / "label.png")

    assert label.road.tolist() == [[True, False, False]]
    assert label.valid.tolist() == [[True, True, False]]
    assert label.lane is None


def test_what_is_written_is_rgb_in_three_colours_and_read_back_equal(tmp_path):
    road, valid, lane = np.random.default_rng(0).random((3, 20, 30)) < 0.5
    label = RoadLabel(road & valid, valid, lane & road & valid)

    write_label(tmp_path / "road.png", label)
    write_lane(tmp_path / "lane.png", label)

    stored = read_raster(tmp_path / "road.png")
    assert {tuple(c) for c in stored.reshape(-1, 3).tolist()} == {M, R, K}
    again = read_label(tmp_path / "road.png", (20, 30), lane=tmp_path / "lane.png")
    np.testing.assert_array_equal(again.road, label.road)
    np.testing.assert_array_equal(again.valid, label.valid)
    np.testing.assert_array_equal(again.lane, label.lane)


def test_road_without_certainty_is_written_black():
    assert colours(np.array([[True]]), np.array([[False]])).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((2, 2, 3), (250, 3, 251), np.uint8), r"pixel x=0, y=0: found RGB \[250, 3, 251\]"),
        (np.full((2, 2, 3), (0, 255, 0), np.uint8), r"found RGB \[0, 255, 0\]"),
        (np.array([[M, M], [M, (0, 0, 255)]], np.uint8), r"x=1, y=1.*0, 255\].*red and blue swap"),
        (np.zeros((2, 2), np.uint8), "found grey, expected 8-bit RGB"),
        (np.zeros((2, 2, 4), np.uint8), "found 4 channels of uint8"),
        (np.zeros((3, 5, 3), np.uint8), "found 5x3 pixels, expected .* 2x2"),
    ],
)
def test_an_image_that_is_no_road_label_is_named(tmp_path, pixels, message):
    write_image(tmp_path / "label.png", pixels)

    with pytest.raises(PerceptionError, match=message):
        read_label(tmp_path / "label.png", (2, 2))


def test_a_road_label_saved_as_jpeg_is_refused_even_where_its_colours_are_right(tmp_path):
    Image.fromarray(np.full((16, 16, 3), K, np.uint8)).save(tmp_path / "label.png", "JPEG")

    with pytest.raises(PerceptionError, match="label in a lossy JPEG file"):
        read_label(tmp_path / "label.png")


def test_both_splits_are_complete_and_disjoint():
    splits = load_manifest("kitti_road").splits
    keys = {n: splits[n].list.read_text().split() for n in splits if splits[n].list}

    per_category = {
        n: tuple(sum(k.startswith(f"{c}_") for k in ks) for c in ("um", "umm", "uu"))
        for n, ks in keys.items()
    }
    assert per_category["kittiseg_train"] == (79, 80, 82)
    assert per_category["kittiseg_val"] == (16, 16, 16)
    assert not set(keys["kittiseg_train"]) & set(keys["kittiseg_val"])
    assert len(set(keys["kittiseg_train"]) | set(keys["kittiseg_val"])) == 289
    assert not set(keys["train"]) & set(keys["val"])
    assert all(len(keys[n]) == splits[n].frames for n in keys)


def test_the_lane_labels_of_category_um_are_a_data_set_of_their_own(tmp_path):
    for number in range(95):
        write_image(
            tmp_path / f"training/image_2/um_{number:06d}.jpg", np.zeros((2, 2, 3), np.uint8)
        )
        write_image(
            tmp_path / f"training/gt_image_2/um_lane_{number:06d}.png",
            np.full((2, 2, 3), M, np.uint8),
        )
    write_image(tmp_path / "training/image_2/uu_000000.jpg", np.zeros((2, 2, 3), np.uint8))

    listing = find_frames(load_manifest("kitti_lane"), tmp_path, "all", needed=("road",))

    assert listing.summary == "95 of 95 frames"


def test_real_frames_have_the_published_shares_of_road():
    root, manifest = shared("data", "kitti_road"), load_manifest("kitti_road")

    listing = find_frames(manifest, root, "all", needed=("road",))

    frames = {f.key: manifest.reader_module.read(f, manifest) for f in listing.frames}
    share = {k: round(100 * f.road.road.mean(), 2) for k, f in frames.items()}
    assert listing.summary == "5 of 289 frames"
    assert share["um_000000"] == 13.17
    assert share["uu_000093"] == 15.86
    assert frames["um_000001"].calibration is None
    assert frames["uu_000093"].calibration.matrix("Tr_cam_to_road").shape == (3, 4)
