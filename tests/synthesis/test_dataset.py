"""The written data set: all formats there, the same bytes whatever the workers."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from perception.cli import main
from perception.errors import PerceptionError, UsageError
from perception.files import read_json, read_label, read_raster
from perception.formats.kitti_calib import SHAPES, read_calibration
from perception.formats.kitti_object import read_labels
from perception.synthesis.dataset import Request, synthesize

REQUEST = Request(frames=6, val_frames=2, seed=3, width=416, height=128)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("streets") / "out"
    synthesize(out, REQUEST)
    return out


def digests(out: Path) -> dict[str, str]:
    return {
        p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file()
    }


def keys(out: Path, part: str) -> list[str]:
    return (out / "kitti_road" / "splits" / f"{part}.txt").read_text().split()


def test_every_frame_has_every_file(streets: Path) -> None:
    for part, count in (("train", 4), ("val", 2)):
        assert len(keys(streets, part)) == count
        for key in keys(streets, part):
            category, number = key.split("_")
            road, boxes = streets / "kitti_road/training", streets / "kitti_object/training"
            assert (road / f"image_2/{key}.png").is_file()
            assert (road / f"gt_image_2/{category}_road_{number}.png").is_file()
            lane = road / f"gt_image_2/{category}_lane_{number}.png"
            assert lane.is_file() == (category == "um")
            assert set(read_calibration(road / f"calib/{key}.txt").matrices) == set(SHAPES)
            assert len(read_labels(boxes / f"label_2/{number}.txt").xyxy)
            stem = f"{part}/{category}/{category}_{number}_000000"
            ids = read_label(streets / f"cityscapes/gtFine/{stem}_gtFine_labelIds.png")
            instances = read_label(streets / f"cityscapes/gtFine/{stem}_gtFine_instanceIds.png")
            assert ids.shape == instances.shape == (128, 416)
            assert instances.dtype == np.uint16
            assert (np.where(instances > 999, instances // 1000, instances) == ids).all()
            assert read_json(streets / f"labelme/{part}/{key}.json")["imagePath"] == f"{key}.png"


def test_the_picture_is_stored_once(streets: Path) -> None:
    picture = next((streets / "kitti_road/training/image_2").iterdir())

    assert picture.stat().st_nlink == 4


def test_kitti_road_pictures_hold_its_three_colours_only(streets: Path) -> None:
    for path in (streets / "kitti_road/training/gt_image_2").iterdir():
        colors = {tuple(c) for c in np.unique(read_raster(path).reshape(-1, 3), axis=0).tolist()}

        assert colors <= {(255, 0, 255), (255, 0, 0), (0, 0, 0)}


def test_the_workers_change_no_byte(streets: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "out", REQUEST, workers=2)

    assert digests(tmp_path / "out") == digests(streets)


def test_a_frame_depends_on_seed_and_index_alone(streets: Path, tmp_path: Path) -> None:
    synthesize(tmp_path, Request(frames=2, val_frames=0, seed=3, width=416, height=128))

    for path in (tmp_path / "kitti_road/training").rglob("*.*"):
        assert path.read_bytes() == (streets / path.relative_to(tmp_path)).read_bytes()


def test_another_seed_gives_other_streets(streets: Path, tmp_path: Path) -> None:
    synthesize(tmp_path, Request(frames=2, val_frames=0, seed=4, width=416, height=128))

    ours, theirs = set(digests(streets).values()), set(digests(tmp_path / "labelme").values())
    assert not ours & theirs


def test_the_same_request_again_does_nothing(streets: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in streets.rglob("*")}

    assert synthesize(streets, REQUEST).already_there
    assert {p: p.stat().st_mtime_ns for p in streets.rglob("*")} == before


def test_frames_of_another_run_are_replaced_only_when_asked(tmp_path: Path) -> None:
    one = Request(frames=1, val_frames=0, seed=0, width=208, height=64)
    two = Request(frames=1, val_frames=0, seed=1, width=208, height=64)
    synthesize(tmp_path, one)
    with pytest.raises(UsageError, match="frames of another run"):
        synthesize(tmp_path, two)

    synthesize(tmp_path, two, overwrite=True)
    assert read_json(tmp_path / "synthesis.json")["seed"] == 1


@pytest.mark.parametrize("name", ["kitti_road", "kitti_object", "cityscapes", "labelme"])
def test_a_folder_that_was_not_made_here_is_never_removed(tmp_path: Path, name: str) -> None:
    request = Request(frames=1, val_frames=0, seed=0, width=208, height=64)
    real = tmp_path / name / "deep" / "real.png"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"real data")

    for overwrite in (False, True):
        with pytest.raises(UsageError, match=f"{name}/ and no synthesis.json.*another folder"):
            synthesize(tmp_path, request, overwrite=overwrite)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [real]


def test_overwrite_removes_what_the_record_names_and_nothing_else(tmp_path: Path) -> None:
    one = Request(frames=2, val_frames=1, seed=0, width=208, height=64)
    synthesize(tmp_path, one)
    mine = [tmp_path / "labelme/train/mine.json", tmp_path / "cityscapes/own/a.png"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    two = Request(frames=1, val_frames=0, seed=1, width=208, height=64)

    synthesize(tmp_path, two, overwrite=True)

    synthesize(tmp_path / "fresh", two)
    fresh = digests(tmp_path / "fresh")
    left = {p: d for p, d in digests(tmp_path).items() if not p.startswith("fresh")}
    assert {p: left[p] for p in fresh} == fresh
    assert set(left) - set(fresh) == {p.relative_to(tmp_path).as_posix() for p in mine}


def test_a_file_in_the_place_of_a_new_frame_is_not_replaced(tmp_path: Path) -> None:
    one = Request(frames=1, val_frames=0, seed=0, width=208, height=64)
    synthesize(tmp_path, one)
    mine = tmp_path / "kitti_object/training/label_2/000001.txt"
    mine.write_bytes(b"mine")
    before = digests(tmp_path)

    with pytest.raises(PerceptionError, match=r"000001\.txt.*does not record"):
        synthesize(tmp_path, Request(2, 0, 0, 208, 64), overwrite=True)
    assert digests(tmp_path) == before


def test_frames_of_an_earlier_release_can_be_replaced(tmp_path: Path) -> None:
    synthesize(tmp_path, Request(frames=2, val_frames=1, seed=0, width=208, height=64))
    record = read_json(tmp_path / "synthesis.json")
    del record["keys"]
    (tmp_path / "synthesis.json").write_text(json.dumps(record))

    synthesize(tmp_path, Request(1, 0, 1, 208, 64), overwrite=True)

    assert len(list((tmp_path / "labelme").rglob("*.json"))) == 1


def test_a_run_that_is_stopped_leaves_no_frames(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path, REQUEST, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--size", "big"],
        ["--size", "10x10"],
        ["--frames", "0"],
        ["--frames", "2", "--val-frames", "3"],
        ["--seed", "-1"],
        ["--workers", "0"],
    ],
)
def test_wrong_options_are_one_clear_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synthesize", str(tmp_path / "out"), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_clear_line_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["synthesize", str(tmp_path), "--frames", "1", "--size", "208x64", "--workers", "1"]
    assert main(words) == 0
    before = digests(tmp_path)

    def full(path: Path, _: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    capsys.readouterr()
    assert main([*words, "--seed", "1", "--overwrite"]) == 1
    message = capsys.readouterr().err
    assert "No space left on device" in message
    assert message.count("\n") == 1
    assert digests(tmp_path) == before


def test_an_output_that_is_a_file_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")

    assert main(["synthesize", str(tmp_path / "out"), "--frames", "1", "--workers", "1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "out").read_text() == "mine"


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synthesize", str(tmp_path), "--frames", "2", "--size", "208x64", "--workers", "1"]

    assert main(words) == 0
    assert "2 training and 0 validation frames of 208x64" in capsys.readouterr().out
