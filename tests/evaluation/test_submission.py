import zipfile

import cv2
import numpy as np
import pytest

from perception.cli import main
from perception.errors import PerceptionError
from perception.evaluation.kitti_road.bev import to_bev
from perception.evaluation.kitti_road.files import read_homography
from perception.evaluation.kitti_road.protocol import SUBMISSION_FRAMES
from perception.evaluation.kitti_road.submission import (
    check_submission,
    find_maps,
    write_submission,
)

PUBLISHED_FRAMES = dict(SUBMISSION_FRAMES)
CALIB = """P2: 60 0 60 0 0 60 2 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_cam_to_road: 1 0 0 0 0 1 0 -1.6 0 0 1 0
"""


@pytest.fixture(scope="module", autouse=True)
def small_testing_part():
    """A testing part of 3 + 2 + 4 frames in place of 96 + 94 + 100."""
    with pytest.MonkeyPatch.context() as patch:
        for category, frames in (("um_road", 3), ("um_lane", 3), ("umm_road", 2), ("uu_road", 4)):
            patch.setitem(SUBMISSION_FRAMES, category, frames)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("submission")
    (root / "pred").mkdir()
    (root / "calib").mkdir()
    confidence = np.add.outer(np.arange(37), np.arange(124)).astype(np.uint8)
    for category, frames in (("um", 3), ("umm", 2), ("uu", 4)):
        for i in range(frames):
            cv2.imwrite(str(root / "pred" / f"{category}_{i:06d}.png"), confidence)
            (root / "calib" / f"{category}_{i:06d}.txt").write_text(CALIB)
    (root / "pred" / "um_000001.png").unlink()
    np.save(root / "pred" / "um_000001.npy", confidence / 255)
    return root, confidence


@pytest.fixture(scope="module")
def archive(folders):
    root, _ = folders
    write_submission(root / "pred", root / "calib", root / "good.zip")
    return root / "good.zip"


def test_the_archive_holds_every_frame_of_the_testing_part_as_seen_from_above(archive, folders):
    root, confidence = folders

    submission = check_submission(archive)

    assert submission.problems == ()
    assert submission.maps == {"um_road": 3, "um_lane": 0, "umm_road": 2, "uu_road": 4}
    view = to_bev(confidence, read_homography(root / "calib" / "um_000001.txt"))
    assert view.max() > 100
    with zipfile.ZipFile(archive) as content:
        for name in ("um_road_000000.png", "um_road_000001.png"):  # from .png, from .npy
            stored = cv2.imdecode(np.frombuffer(content.read(name), np.uint8), -1)
            np.testing.assert_array_equal(stored, view)


def test_the_testing_part_has_the_frames_of_the_benchmark():
    frames = {"um_road": 96, "um_lane": 96, "umm_road": 94, "uu_road": 100}
    assert frames == PUBLISHED_FRAMES


def test_the_same_maps_give_the_same_archive(archive, folders):
    root, _ = folders

    write_submission(root / "pred", root / "calib", root / "again.zip")

    assert (root / "again.zip").read_bytes() == archive.read_bytes()


def test_a_missing_frame_is_named_and_nothing_is_written(folders, tmp_path):
    root, _ = folders
    for path in (root / "pred").iterdir():
        if path.name != "uu_000003.png":
            (tmp_path / path.name).symlink_to(path)

    with pytest.raises(PerceptionError, match=r"uu_road_000003\.png: found no such map"):
        write_submission(tmp_path, root / "calib", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_two_maps_of_one_frame_are_refused(folders, tmp_path):
    root, confidence = folders
    for path in (root / "pred").iterdir():
        (tmp_path / path.name).symlink_to(path)
    cv2.imwrite(str(tmp_path / "um_road_000002.png"), confidence)

    with pytest.raises(PerceptionError, match=r"um_road_000002\.png and um_000002\.png"):
        find_maps(tmp_path)


def rewritten(archive, target, change):
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            for entry, data in change(name, old.read(name)):
                new.writestr(entry, data)
    return target


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda n, d: [(f"maps/{n}", d)] if n == "um_road_000000.png" else [(n, d)],
            "maps/um_road_000000.png: not in the root",
        ),
        (
            lambda n, d: [] if n == "umm_road_000001.png" else [(n, d)],
            "umm_road: 1 of 2 maps are missing, first umm_road_000001.png",
        ),
        (
            lambda n, d: (
                [(n, png(np.zeros((375, 1242), np.uint8)))] if "uu_road_000001" in n else [(n, d)]
            ),
            "uu_road_000001.png: 1242x375 pixels instead of 400x800",
        ),
        (
            lambda n, d: (
                [(n, png(np.zeros((800, 400), np.uint16)))] if "uu_road_000001" in n else [(n, d)]
            ),
            "uu_road_000001.png: 16 bit",
        ),
        (
            lambda n, d: (
                [(n, png(np.zeros((800, 400, 3), np.uint8)))] if "uu_road_000001" in n else [(n, d)]
            ),
            "PNG colour type 2",
        ),
        (lambda n, d: [(n, d[:-20])] if "uu_road_000001" in n else [(n, d)], "a damaged PNG"),
        (
            lambda n, d: [(n, d), ("notes.txt", b"hello")] if "uu_road_000001" in n else [(n, d)],
            "notes.txt: not a name of the testing part",
        ),
        (
            lambda n, d: [(n, d), ("um_lane_000000.png", d)] if "uu_road_000001" in n else [(n, d)],
            "um_lane: 2 of 3 maps are missing",
        ),
    ],
)
def test_the_checker_says_what_the_server_would_refuse(archive, tmp_path, change, problem):
    submission = check_submission(rewritten(archive, tmp_path / "bad.zip", change))

    assert [line for line in submission.problems if problem in line]


def test_the_command_checks_and_answers_by_its_exit_code(archive, tmp_path, capsys):
    (tmp_path / "text.zip").write_text("hello")

    assert main(["submit", "kitti_road", "--check", str(archive)]) == 0
    assert main(["submit", "kitti_road", "--check", str(tmp_path / "text.zip")]) == 1
    assert main(["submit", "kitti_road", "--check", str(tmp_path / "none.zip")]) == 1
    assert main(["submit", "kitti_road"]) == 2
    printed = capsys.readouterr()
    assert "no um_lane maps" in printed.out
    assert "refused: the file is no readable zip archive" in printed.out
    assert "none.zip: found no such file" in printed.err


def test_a_missing_calibration_is_named_and_nothing_is_written(folders, tmp_path, capsys):
    root, _ = folders
    (tmp_path / "calib").mkdir()
    words = [tmp_path / "out.zip", "--pred", root / "pred", "--calib", tmp_path / "calib"]

    assert main(["submit", "kitti_road", *map(str, words)]) == 1

    assert f"{tmp_path / 'calib'}: um_road_000000: found neither" in capsys.readouterr().err
    assert not (tmp_path / "out.zip").exists()
