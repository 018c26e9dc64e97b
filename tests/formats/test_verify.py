"""`perception prepare`: exactly what is missing or damaged, in one line each."""

import json
import os

import numpy as np
import pytest

from perception.cli import main
from perception.files import write_image
from perception.files.codec_messages import codec_messages, is_damage
from perception.formats.manifest import load_manifest
from perception.formats.verify import verify
from tests.data.folders import camvid

LINE = "Car 0.00 0 -1.57 10 10 30 30 1.5 1.6 3.9 1.8 1.5 8.4 0.0"


@pytest.fixture
def root(tmp_path):
    return camvid(tmp_path / "camvid")


def kitti(root, lines=(LINE,), size=(40, 60)):
    for number, line in enumerate(lines):
        write_image(root / f"training/image_2/{number:06d}.jpg", np.zeros((*size, 3), np.uint8))
        (root / "training/label_2").mkdir(exist_ok=True)
        (root / f"training/label_2/{number:06d}.txt").write_text(line + "\n")
    return root


def damage(name, root, split="all", **options):
    return verify(load_manifest(name), root, [split], **options).damage


def test_a_whole_folder_has_no_damage_and_exit_code_0(tmp_path, capsys):
    code = main(
        ["prepare", "kitti_object", "--root", str(kitti(tmp_path, [LINE] * 3)), "--workers", "1"]
    )

    printed = capsys.readouterr().out
    assert code == 0
    assert "  train                  3 of 7000 frames\n" in printed
    assert printed.endswith("3 of 7481 frames, nothing damaged\n")


def test_truncated_images_and_labels_are_named(root):
    for path in ("train/A_000.png", "trainannot/A_001.png"):
        (root / path).write_bytes((root / path).read_bytes()[:-20])

    found = damage("camvid", root, str(root / "all.txt"))

    assert len(found) == 2
    assert "train/A_000.png: found" in found[0]
    assert "trainannot/A_001.png: found" in found[1]


def test_a_png_with_a_flipped_byte_is_named(root):
    path = root / "train/A_000.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)

    (line,) = damage("camvid", root, str(root / "all.txt"))

    assert "train/A_000.png: found" in line


def test_a_mask_of_another_size_is_named(root):
    write_image(root / "trainannot/A_002.png", np.zeros((12, 16), np.uint8))

    (line,) = damage("camvid", root, str(root / "all.txt"))

    assert line.endswith("A_002.png: found 16x12 pixels, expected the size of its image, 32x24")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.rsplit(" ", 1)[0], "000001.txt, line 1: found 14 fields, expected 15 fields"),
        (
            LINE.replace("30 30", "5 5"),
            "000001.txt, box 1: found corners 10 10 5 5, expected a box",
        ),
        (LINE.replace("10 10 30 30", "70 10 90 30"), "expected a box inside 60x40 pixels"),
    ],
)
def test_a_wrong_label_line_is_named(tmp_path, line, message):
    (found,) = damage("kitti_object", kitti(tmp_path, [LINE, line]))

    assert message in found


def test_missing_labels_are_damage_and_missing_frames_are_not(root, tmp_path, capsys):
    (root / "trainannot/A_003.png").unlink()
    (root / "all.txt").write_text("A_000\nA_001\nA_003\nA_007\nA_008\nB_1\n")
    file = tmp_path / "report.json"

    code = main(
        [
            "prepare",
            "camvid",
            "--root",
            str(root),
            "--split",
            str(root / "all.txt"),
            "--json",
            str(file),
            "--workers",
            "1",
        ]
    )

    printed = capsys.readouterr().out
    assert code == 1
    assert "3 of 6 frames" in printed
    assert "not there: A_007-008, B_1\n" in printed
    assert "trainannot/A_003: missing, though its image is there" in printed
    assert printed.endswith("frames, 1 damaged\n")
    stored = json.loads(file.read_text())
    assert stored["splits"][str(root / "all.txt")]["absent"] == ["A_007", "A_008", "B_1"]


def test_the_report_does_not_depend_on_the_workers(root):
    (root / "train/A_000.png").write_bytes(b"")
    write_image(root / "trainannot/A_002.png", np.full((24, 32), 99, np.uint8))
    split = str(root / "all.txt")

    assert damage("camvid", root, split, workers=2) == damage("camvid", root, split)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["kitti_boat", "--root", "."], 1, "data set kitti_boat: found no such packaged"),
        (["camvid", "--root", "/nowhere"], 1, "/nowhere: found no such folder"),
        (["camvid", "--root", ".", "--workers", "0"], 2, "--workers: found 0"),
        (["camvid", "--root", ".", "--split", "dev"], 1, "camvid: split: found dev"),
    ],
)
def test_wrong_use_is_one_line(words, code, message, capsys):
    assert main(["prepare", *words]) == code

    assert message in capsys.readouterr().err


def test_images_of_a_label_of_ones_own_are_checked(tmp_path):
    (tmp_path / "dataset.yaml").write_text(
        'name: own\nlayout: {image: "i/{n}", depth: "d/{n}"}\nkey: "{n}"\nsplits: {all: {}}\n'
        "labels: []\n"
    )
    write_image(tmp_path / "i/0.png", np.zeros((8, 9, 3), np.uint8))
    write_image(tmp_path / "d/0.png", np.zeros((8, 9), np.uint16))
    assert not damage(tmp_path / "dataset.yaml", tmp_path)

    (tmp_path / "d/0.png").write_bytes((tmp_path / "d/0.png").read_bytes()[:40])

    (line,) = damage(tmp_path / "dataset.yaml", tmp_path)
    assert str(line).startswith(f"{tmp_path / 'd/0.png'}: found a truncated image")


def test_a_cut_jpeg_that_was_closed_again_is_named(tmp_path, capfd):
    kitti(tmp_path, [LINE, LINE], size=(240, 320))
    path = tmp_path / "training/image_2/000001.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    write_image(path, noise)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3] + b"\xff\xd9")

    found = damage("kitti_object", tmp_path, "train")

    assert len(found) == 1
    assert "000001.jpg: found Corrupt JPEG data: premature end of data segment" in found[0]
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_on_standard_error_by_others_is_not_lost(capfd):
    with codec_messages() as messages:
        os.write(2, b"somebody else\nCorrupt JPEG data: x\nlibpng warning: iCCP\n")

    assert messages == ["Corrupt JPEG data: x", "libpng warning: iCCP"]
    assert [is_damage(message) for message in messages] == [True, False]
    assert capfd.readouterr().err == "somebody else\n"


def test_what_the_labels_hold_is_told_by_class_and_split(tmp_path, capsys):
    lines = [LINE.replace("Car", name) for name in ("Car", "CAR", "Tram", "Van")]
    kitti(tmp_path, lines)
    (tmp_path / "training/image_2/notes.txt").write_text("")

    assert main(["prepare", "kitti_object", "--root", str(tmp_path), "--workers", "1"]) == 0

    printed = capsys.readouterr().out
    assert "    boxes: car 2, pedestrian 0, cyclist 0, ignored 1, of no class 1\n" in printed
    assert "    warning: boxes: nothing of pedestrian, cyclist\n" in printed
    assert "    beside the images, not used: 1 .txt\n" in printed


def test_labels_without_anything_of_their_task_are_said(tmp_path, capsys):
    kitti(tmp_path, [LINE.replace("Car", "Auto")])

    assert main(["prepare", "kitti_object", "--root", str(tmp_path), "--workers", "1"]) == 0

    assert "warning: boxes: nothing of any class (types Car, Cyclist, Pedestrian" in (
        capsys.readouterr().out
    )


def test_pixels_are_told_in_percent(root, capsys):
    (root / "trainannot/A_000.png").unlink()
    write_image(root / "trainannot/A_000.png", np.full((24, 32), 3, np.uint8))
    (root / "one.txt").write_text("A_000\n")

    words = ["prepare", "camvid", "--root", str(root), "--split", str(root / "one.txt")]
    assert main(words) == 0

    printed = capsys.readouterr().out
    assert "    road: road 100 %, not road 0 %, ignored 0 %\n" in printed
    assert "    warning: road: nothing of not road\n" in printed


def test_labels_of_ones_own_are_told_too(tmp_path, capsys):
    (tmp_path / "dataset.yaml").write_text(
        'name: own\nkey: "{frame}"\nsplits: {all: {}}\n'
        'layout: {image: "i/{frame}.png", gate: "g/{frame}", depth: "d/{frame}"}\n'
        "targets: {gate: {kind: mask}, depth: {kind: values}}\nlabels: []\n"
    )
    write_image(tmp_path / "i/0.png", np.zeros((8, 10, 3), np.uint8))
    write_image(tmp_path / "g/0.png", np.repeat([[0, 1]], 8, 0).repeat(5, 1).astype(np.uint8))
    write_image(tmp_path / "d/0.png", np.zeros((8, 10), np.uint16))

    words = ["prepare", str(tmp_path / "dataset.yaml"), "--root", str(tmp_path)]
    assert main(words) == 0

    printed = capsys.readouterr().out
    assert "    gate: gate 50 %, not gate 50 %, ignored 0 %\n" in printed
    assert "    depth: known 0 %, ignored 100 %\n" in printed
    assert "    warning: depth: nothing of any class; there is nothing to train on\n" in printed
