"""Many images: the rest is predicted, what fails is named, nothing is left out without a word."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.files import read_json
from perception.inference.film import plain_rate
from perception.inference.model import Model, Timing
from perception.inference.predict import predict_source
from perception.inference.sources import open_source
from perception.structures import Prediction, ValuesResult
from tests.inference.test_model import SCHEME, Echo, square


@pytest.fixture
def predict(tmp_path):
    def run(path, out=tmp_path / "out"):
        source = open_source(path, out=out)
        return predict_source(
            Model(Echo(), scheme=SCHEME), source, out, draw=lambda image, _: image
        )

    return run


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = square(32, 64, (4, 4, 20, 20))
    data = cv2.imencode(path.suffix.lower(), image)[1].tobytes()
    path.write_bytes(data)


def keys(out):
    files = (out / "json").rglob("*.json")
    return sorted(p.relative_to(out / "json").with_suffix("").as_posix() for p in files)


def test_a_damaged_picture_is_named_and_the_others_are_predicted(predict, tmp_path):
    for number in range(5):
        picture(tmp_path / f"in/{number}.png")
    damaged = tmp_path / "in/2.png"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    (tmp_path / "in/3.png").write_bytes(b"")

    done = predict(tmp_path / "in")

    assert keys(tmp_path / "out") == ["0", "1", "4"]
    assert done.images == 3
    named = [line.split(": ")[0] for line in done.failed]
    assert named == [str(damaged), str(tmp_path / "in/3.png")]


def test_a_name_that_is_not_utf_8_is_a_name(predict, tmp_path):
    picture(tmp_path / "in" / os.fsdecode(b"b\xff.png"))

    done = predict(tmp_path / "in")

    assert (done.images, done.failed) == (1, ())
    (file,) = (tmp_path / "out/json").iterdir()
    assert read_json(file)["key"] == "b\udcff"


def test_every_format_in_any_case_and_in_linked_folders_is_predicted(predict, tmp_path):
    for name in ("a.bmp", "b.WEBP", "c.PNG", "d.Jpg", "sub/e.tiff"):
        picture(tmp_path / "in" / name)
    picture(tmp_path / "disk/f.png")
    (tmp_path / "in/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "in/self").symlink_to(tmp_path / "in")
    for name in ("._a.png", "notes.txt", "x.mp4"):
        (tmp_path / "in" / name).write_bytes(b"x")

    done = predict(tmp_path / "in")

    assert keys(tmp_path / "out") == ["a", "b", "c", "d", "linked/f", "sub/e"]
    assert done.failed == ()
    assert done.notes == (f"{tmp_path / 'in'}: not predicted: 1 .mp4, 1 .txt, 1 hidden",)


def test_predictions_below_the_images_are_never_predicted_again(predict, tmp_path):
    picture(tmp_path / "in/a.png")
    out = tmp_path / "in" / "pred"
    for _ in range(3):
        assert predict(tmp_path / "in", out).images == 1


def test_two_pictures_of_one_name_are_an_error_that_names_both(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.bmp")

    with pytest.raises(PerceptionError, match=r"two images for a: a\.bmp and a\.png"):
        open_source(tmp_path)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    picture(tmp_path / "in/a.png")

    assert open_source(Path("~/in")).count == open_source(Path("~/in/a.png")).count == 1


# ---------------------------------------------------------------------------- videos


def video(path, fps=25.0, frames=3, codec="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 32))
    for shift in range(frames):
        writer.write(square(32, 64, (shift, 4, shift + 20, 20)))
    writer.release()
    return path


@pytest.mark.parametrize("name", ["a.ts", "a.m4v", "a.MPG", "a.avi"])
def test_videos_of_other_suffixes_are_videos(predict, tmp_path, name):
    video(tmp_path / "x.avi", codec="MJPG").rename(tmp_path / name)

    assert predict(tmp_path / name).images == 3
    assert cv2.VideoCapture(str(tmp_path / "out/overlay.mp4")).read()[0]


@pytest.mark.parametrize("fps", [105611 / 500, 29.97002997, 0.5, 59.94])
def test_any_frame_rate_becomes_one_that_a_video_can_hold(predict, tmp_path, fps):
    rate = plain_rate(fps)
    assert abs(rate - fps) <= 0.001 * max(fps, 1)
    made = video(tmp_path / "a.avi", fps=rate, codec="MJPG")

    assert predict(made).images == 3


def test_a_video_that_is_cut_off_is_said(predict, tmp_path):
    made = video(tmp_path / "a.avi", frames=20, codec="MJPG")
    data = made.read_bytes()
    made.write_bytes(data[: len(data) // 2])

    done = predict(made)

    assert 0 < done.images < 20
    assert "of 20 frames: is it cut off?" in done.failed[-1]


def test_numbers_that_a_png_cannot_hold_are_told_once(tmp_path):
    class Far:
        timing = Timing(0.0, 0.0, 0.0)

        def predict(self, pixels, *, key, tasks):
            values = np.full(pixels.shape[:2], 300, np.float32)
            return Prediction(key, values.shape, depth=ValuesResult(values, "m"))

    for number in range(2):
        picture(tmp_path / f"in/{number}.png")
    out = tmp_path / "out"

    done = predict_source(Far(), open_source(tmp_path / "in", out=out), out, draw=lambda i, _: i)

    (note,) = done.notes
    assert note.startswith(f"{out / 'depth'}: 4,096 numbers do not fit into the PNGs")
