import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.files import write_image
from perception.formats.frames import find_frames
from perception.formats.manifest import load_manifest
from tests.data.folders import camvid
from tests.shared import shared


@pytest.fixture
def manifest():
    return load_manifest("camvid")


@pytest.fixture
def root(tmp_path):
    return camvid(tmp_path / "CamVid")


def listed(root):
    return str(root / "all.txt")


def test_a_frame_has_ids_and_the_road_that_follows_from_them(manifest, root):
    files = find_frames(manifest, root, listed(root), needed=("semantic",)).frames[1]

    frame = manifest.reader_module.read(files, manifest)

    assert frame.key == "A_001"
    np.testing.assert_array_equal(frame.semantic.ids * 20, frame.image.read()[..., 0])
    np.testing.assert_array_equal(frame.road.road, frame.semantic.ids == 3)
    np.testing.assert_array_equal(frame.road.valid, frame.semantic.ids != 11)


def test_a_partial_folder_is_legal_and_counted(manifest, tmp_path):
    keys = ("0001TP_006690", "0016E5_00390")
    for key in keys:
        write_image(tmp_path / "train" / f"{key}.jpg", np.zeros((24, 32, 3), np.uint8))
        write_image(tmp_path / "trainannot" / f"{key}.png", np.zeros((24, 32), np.uint8))

    listing = find_frames(manifest, tmp_path, "train", needed=("semantic",))

    assert listing.summary == "2 of 367 frames"
    assert tuple(f.key for f in listing.frames) == keys
    assert len(listing.absent) == 365


def test_splits_do_not_overlap_and_have_their_counts(manifest):
    lists = {n: s.list.read_text().split() for n, s in manifest.splits.items() if s.list}

    assert (len(lists["train"]), len(lists["val"])) == (367, 101)
    assert not set(lists["train"]) & set(lists["val"])
    assert len(set(lists["train"])) == 367


def test_the_folder_above_the_right_one_is_answered_with_the_right_one(manifest, root):
    with pytest.raises(PerceptionError, match=r"Set the root of camvid to .*CamVid\."):
        find_frames(manifest, root.parent, listed(root))


def test_a_folder_of_something_else_is_answered_with_both_sides(manifest, tmp_path):
    (tmp_path / "holiday").mkdir()

    with pytest.raises(PerceptionError, match=r"found holiday/, expected images train/\{frame\}"):
        find_frames(manifest, tmp_path, "train")


def test_no_folder_at_all_is_answered_with_the_layout(manifest, tmp_path):
    with pytest.raises(PerceptionError, match=r"gone: found no such folder, .*train/\{frame\}"):
        find_frames(manifest, tmp_path / "gone", "train")


def test_an_image_without_its_label_is_an_error(manifest, root):
    (root / "trainannot" / "A_002.png").unlink()

    with pytest.raises(PerceptionError, match=r"no semantic file for A_002\.png, .*trainannot/"):
        find_frames(manifest, root, listed(root), needed=("semantic",))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros((10, 10), np.uint8), r"A_000\.png: found 10x10 pixels, .*32x24"),
        (np.full((24, 32), 77, np.uint8), r"A_000\.png: found class id 77 in 768 pixels"),
        (np.zeros((24, 32, 3), np.uint8), r"A_000\.png: found 3 channels"),
        (np.zeros((24, 32), np.uint16), r"A_000\.png: found uint16 values"),
    ],
)
def test_a_label_that_does_not_fit_is_named(manifest, root, label, message):
    write_image(root / "trainannot" / "A_000.png", label)
    files = find_frames(manifest, root, listed(root)).frames[0]

    with pytest.raises(PerceptionError, match=message):
        manifest.reader_module.read(files, manifest)


def test_an_unknown_split_is_answered_with_the_known_ones(manifest, root):
    with pytest.raises(PerceptionError, match="found validation, expected one of train, val"):
        find_frames(manifest, root, "validation")


def test_the_recordings_are_found_whole(manifest):
    root = shared("data", "camvid")

    found = {
        s: find_frames(manifest, root, s, ("semantic",)).summary
        for s in manifest.splits
        if s != "test"
    }

    assert found == {
        "train": "367 of 367 frames",
        "val": "101 of 101 frames",
        "train_0001TP": "62 of 62 frames",
        "train_0006R0": "101 of 101 frames",
        "train_without_0001TP": "305 of 305 frames",
        "train_without_0006R0": "266 of 266 frames",
    }
