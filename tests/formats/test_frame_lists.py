"""Lists of one's own, linked and locked folders, suffixes: every frame is found or named."""

import os

import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.files import write_image
from perception.formats.frames import find_frames, survey
from perception.formats.manifest import load_manifest

MANIFEST = """name: campus
layout: {{image: "frames/{{day}}/{{number}}", boxes: "boxes/{{day}}/{{number}}.txt"}}
optional: [boxes]
key: "{key}"
splits: {{all: {{}}, train: {{include: ["d9/*"]}}}}
labels: [{{name: a, id: 0, color: [0, 0, 0]}}]
"""


def picture(path):
    write_image(path, np.zeros((4, 6, 3), np.uint8))


@pytest.fixture
def root(tmp_path):
    for name in ("d0/0001.png", "d0/0002.PNG", "d1/0001.jpg", "d1/0003.Jpg"):
        picture(tmp_path / "root" / "frames" / "x.png")
        (tmp_path / "root/frames" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "root/frames/x.png").rename(tmp_path / "root/frames" / name)
    return tmp_path / "root"


@pytest.fixture
def campus(tmp_path):
    def make(key="{day}/{number}"):
        (tmp_path / "dataset.yaml").write_text(MANIFEST.format(key=key))
        return load_manifest(tmp_path / "dataset.yaml")

    return make


def listed(campus, root, text, encoding="utf-8"):
    path = root / "mine.txt"
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return [frame.key for frame in find_frames(campus(), root, str(path)).frames]


def test_suffixes_of_images_and_labels_fit_in_any_case(campus, root):
    (root / "boxes/d0").mkdir(parents=True)
    (root / "boxes/d0/0001.TXT").write_text("")

    found = find_frames(campus(), root, "all").frames

    assert [frame.key for frame in found] == ["d0/0001", "d0/0002", "d1/0001", "d1/0003"]
    assert found[0].labels["boxes"].name == "0001.TXT"


def test_linked_days_are_entered_and_what_systems_put_there_is_no_frame(campus, root, tmp_path):
    (tmp_path / "disk").mkdir()
    picture(tmp_path / "disk" / "0007.png")
    (root / "frames/d2").symlink_to(tmp_path / "disk")
    for name in ("frames/d0/._0001.png", "frames/.ipynb_checkpoints/0001.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")

    keys = [frame.key for frame in find_frames(campus(), root, "all").frames]

    assert keys == ["d0/0001", "d0/0002", "d1/0001", "d1/0003", "d2/0007"]


def test_a_locked_day_is_an_error(campus, root, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).rstrip("/").endswith("d1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PerceptionError, match=r"d1.*permission denied"):
        find_frames(campus(), root, "all")


def test_what_lies_beside_the_images_is_counted(campus, root):
    (root / "frames/d0/notes.md").write_text("")
    (root / "frames/d0/0001.raw").write_text("")

    assert dict(survey(campus(), root, campus().split("all")).left_out) == {".md": 1, ".raw": 1}


def test_two_images_of_one_frame_are_an_error_that_names_both(campus, root):
    with pytest.raises(PerceptionError, match=r"d1/0001\.jpg: found a second .* beside .*d0/0001"):
        find_frames(campus("{number}"), root, "all")
    picture(root / "frames/d0/0001.jpg")
    with pytest.raises(PerceptionError, match=r"d0/0001\.png: .* beside .*d0/0001\.jpg"):
        find_frames(campus(), root, "all")


@pytest.mark.parametrize(
    "line",
    [
        "d0/0001",
        "d0/0001.png",
        "d0/0001.jpg",
        "./d0/0001",
        "frames/d0/0001.png",
        "/somewhere/else/frames/d0/0001.png",
        "C:\\data\\frames\\d0\\0001.png",
        '"d0/0001.png"',
        "'d0/0001'",
        "d0/0001.png labels/d0/0001.png",
        "d0/0001.png\tlabels/d0/0001.png",
        "frames/d0/0001.png,labels/d0/0001.png",
        "d0/0001 1",
        "d0/0001  # the first",
    ],
)
def test_a_line_of_a_list_may_name_a_frame_in_any_of_these_ways(campus, root, line):
    assert listed(campus, root, f"# mine\n\n{line}\nd1/0003\n") == ["d0/0001", "d1/0003"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_list_of_windows_is_read(campus, root, encoding):
    assert listed(campus, root, "d0/0001\r\nd1/0003\r\n", encoding) == ["d0/0001", "d1/0003"]


def test_a_bare_name_is_a_frame_where_one_only_has_it(campus, root):
    assert listed(campus, root, "0003.jpg\n") == ["d1/0003"]
    with pytest.raises(PerceptionError, match=r"line 1: found 0001, a name of 2 frames, .*d0/0001"):
        listed(campus, root, "0001\n")


@pytest.mark.parametrize("line", ["d0/0009", "absent.png", "d7/0001.png labels/a.png"])
def test_a_line_that_names_no_frame_is_an_error_that_shows_a_key(campus, root, line):
    with pytest.raises(PerceptionError, match=r"mine\.txt, line 2: found .*, e\.g\. d0/0001"):
        listed(campus, root, f"d0/0001\n{line}\n")


def test_an_empty_list_and_a_frame_twice_are_errors(campus, root):
    for text in ("", "\n# nothing\n"):
        with pytest.raises(PerceptionError, match=r"mine\.txt: found an empty list"):
            listed(campus, root, text)
    with pytest.raises(PerceptionError, match="d0/0001 twice"):
        listed(campus, root, "d0/0001\nd0/0001.png\n")


def test_an_empty_split_in_the_right_folder_says_which_and_what_to_do(campus, root):
    with pytest.raises(PerceptionError) as caught:
        find_frames(campus(), root, "train")

    line = str(caught.value)
    for word in ("split train", "none of the 4 frames", "d0/0001", "train=all val=all", ".txt"):
        assert word in line
    assert "Set the root" not in line


def test_a_tilde_is_the_home_folder(campus, root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    (root / "mine.txt").write_text("d0/0001\n")

    assert len(find_frames(campus(), "~/root", "~/root/mine.txt").frames) == 1
