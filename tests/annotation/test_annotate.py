from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawing import SIZE, convert, picture, write_folder

from perception.annotation.prelabel import PrelabelSettings, prelabel
from perception.annotation.raster import paint
from perception.cli import main
from perception.files import packaged, write_image
from perception.formats.labelme import document, encode
from perception.labels import load_scheme
from perception.structures import Boxes, Prediction, SemanticLabel
from tests.inference.detectors import detector, yolox_rows


def program(folder: Path, version: str) -> Path:
    """A program that answers `--version` and writes down how it was called."""
    path = folder / "labelme"
    path.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"if '--version' in sys.argv: print({version!r}); sys.exit()\n"
        f"json.dump([sys.argv[1:], dict(os.environ)], open({str(folder / 'call.json')!r}, 'w'))\n"
    )
    path.chmod(0o755)
    return path


def test_labelme_is_started_with_our_files_and_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", "/cv2/qt/plugins")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    labelme = program(tmp_path, "Labelme 6.3.1")

    code = main(["annotate", str(tmp_path), "--labelme", str(labelme), "--scheme", "kitti_road"])

    words, environment = json.loads((tmp_path / "call.json").read_text())
    assert code == 0
    assert words[0] == str(tmp_path.resolve())
    assert str(packaged("annotation", "labels_kitti_road.txt")) in words
    assert not {"QT_QPA_PLATFORM_PLUGIN_PATH", "PYTHONPATH"} & set(environment)
    assert environment["PATH"] == os.environ["PATH"]


def test_without_labelme_the_user_is_told_how_to_install_it(tmp_path: Path, capsys):
    assert main(["annotate", str(tmp_path), "--labelme", "no-such-labelme"]) == 1
    assert "pipx install labelme==6.3.1" in capsys.readouterr().err


def test_a_program_that_is_not_labelme_is_refused(tmp_path: Path, capsys):
    assert main(["annotate", str(tmp_path), "--labelme", str(program(tmp_path, "ls 9.1"))]) == 1
    assert not (tmp_path / "call.json").exists()


def test_the_command_line_can_be_printed_without_labelme(tmp_path: Path, capsys):
    assert main(["annotate", str(tmp_path), "--print"]) == 0
    assert capsys.readouterr().out.startswith(f"labelme {tmp_path.resolve()} --config ")
    assert main(["annotate", str(tmp_path / "none"), "--print"]) == 2


def prediction() -> Prediction:
    """Sky above, road below with a building on it, and a strip of car."""
    scheme = load_scheme("cityscapes")
    ids = np.full(SIZE, 23, np.uint8)
    ids[20:], ids[25:35, 20:40], ids[22:24, 2:12], ids[39, 59] = 7, 11, 26, 8
    boxes = Boxes.of([[2, 22, 12, 32], [30, 5, 40, 9]], ["Car", "car"], score=[0.9, 0.3])
    return Prediction("a", SIZE, boxes=boxes, semantic=SemanticLabel(ids, scheme))


def test_a_prediction_becomes_polygons_and_rectangles():
    shapes, small = prelabel(prediction(), PrelabelSettings(smallest=20))

    assert [(s.label, s.type) for s in shapes] == [  # largest first; holes of the road too
        ("sky", "polygon"),
        ("road", "polygon"),
        ("_background_", "polygon"),
        ("building", "polygon"),
        ("_background_", "polygon"),
        ("car", "rectangle"),
    ]
    assert shapes[-1].points.tolist() == [[2, 22], [12, 32]]
    assert shapes[-1].description == "score=0.90"
    assert small == 1  # the single pixel of sidewalk
    assert "car" not in {s.label for s in shapes if s.type == "polygon"}


def test_painted_again_a_prelabelled_road_is_close_to_the_prediction():
    road = np.zeros(SIZE, np.float32)
    road[15:, 5:50] = 0.9
    road[22:34, 20:36] = 0.1  # a hole

    shapes, _ = prelabel(Prediction("a", SIZE, road=road))

    canvas = paint(shapes, SIZE)
    painted = np.isin(canvas, [n for n, s in enumerate(shapes, 1) if s.label == "road"])
    wrong = painted != (road > 0.5)
    assert wrong.mean() < 0.03
    assert not painted[25:31, 24:32].any()


def test_only_the_labels_of_the_scheme_are_written():
    shapes, _ = prelabel(prediction(), PrelabelSettings(labels=frozenset({"road"})))

    assert {s.label for s in shapes} <= {"road", "_background_"}


def test_a_prelabelled_file_converts_without_a_warning(tmp_path: Path):
    shapes, _ = prelabel(prediction(), PrelabelSettings(smallest=20))
    src = write_folder(tmp_path / "src", {})
    write_image(src / "a.png", picture())
    (src / "a.json").write_bytes(encode(document(shapes, "a.png", SIZE)))

    assert convert("kitti_road", src, tmp_path / "out") == 0
    assert convert("kitti_object", src, tmp_path / "object") == 0

    line = (tmp_path / "object/training/label_2/000000.txt").read_text()
    assert line.startswith("Car 0.00 0 -10 2.00 22.00 12.00 32.00 ")


class Guess:
    """A model that sees a road everywhere."""

    def predict(self, image: np.ndarray, *, key: str) -> Prediction:
        return Prediction(key, image.shape[:2], road=np.ones(image.shape[:2], np.float32))


def test_one_broken_image_is_named_and_the_others_are_prelabelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr("perception.experiments.load.load", lambda _: Guess())
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, picture())
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "._a.png").write_bytes(b"macOS")

    assert main(["annotate", str(tmp_path), "--pre-label", "run", "--print"]) == 1

    assert sorted(p.name for p in tmp_path.glob("*.json")) == ["a.json", "c.json"]
    said = capsys.readouterr().err
    assert "2 of 3 images pre-labelled" in said and str(tmp_path / "b.png") in said


def test_an_exported_detector_prelabels_and_the_file_says_who_did(tmp_path: Path):
    sees = yolox_rows((1, 2, 20, 12, 16, 8, 0, 0.9), (2, 5, 44, 20, 8, 16, 1, 0.4))
    net = detector(tmp_path / "net.onnx", sees, (32, 64), {"names": "['car', 'person']"})
    write_image(tmp_path / "photos" / "a.png", np.zeros((64, 128, 3), np.uint8))

    assert main(["annotate", str(tmp_path / "photos"), "--pre-label", str(net), "--print"]) == 0

    content = json.loads((tmp_path / "photos" / "a.json").read_text())
    (shape,) = content["shapes"]
    assert (shape["label"], shape["description"]) == ("car", "score=0.90")
    np.testing.assert_allclose(shape["points"], [[24, 16], [56, 32]], atol=1e-4)
    assert content["preLabel"]["teacher"] == "net.onnx"
    assert content["preLabel"]["score"] == 0.5


@pytest.mark.parametrize("words", [("--score", "nan"), ("--score", "2"), ("--tolerance", "-1")])
def test_settings_out_of_range_are_wrong_usage(words: tuple[str, str], tmp_path: Path):
    assert main(["annotate", str(tmp_path), "--print", *words]) == 2


IN_LABELME = """
import os, sys
from PyQt5 import QtWidgets
from labelme.app import MainWindow
application = QtWidgets.QApplication(sys.argv[:1])
window = MainWindow(config_overrides={"with_image_data": False}, file_or_dir=sys.argv[1])
application.processEvents()
assert window.save_labels(sys.argv[2])
os._exit(0)
"""


@pytest.mark.skipif(shutil.which("labelme") is None, reason="no labelme in PATH")
def test_labelme_itself_opens_and_saves_a_prelabelled_file_and_nothing_is_lost(tmp_path: Path):
    shapes, _ = prelabel(prediction(), PrelabelSettings(smallest=20))
    write_image(tmp_path / "a.png", picture())
    (tmp_path / "a.json").write_bytes(encode(document(shapes, "a.png", SIZE)))
    interpreter = Path(shutil.which("labelme") or "").resolve().parent / "python"
    if subprocess.run([interpreter, "-c", "import PyQt5, labelme.app"], check=False).returncode:
        pytest.skip("another labelme than 6.x")

    subprocess.run(
        [interpreter, "-c", IN_LABELME, tmp_path / "a.json", tmp_path / "saved.json"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"},
        check=True,
        timeout=120,
    )

    before, after = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "saved.json"))
    assert after | {"version": before["version"]} == before


def test_the_example_folder_has_no_errors_and_converts(tmp_path: Path, capsys):
    example = packaged("annotation", "example")

    assert main(["audit", str(example), "--workers", "1"]) == 0
    for target in ("kitti_road", "kitti_object", "cityscapes"):
        assert convert(target, example, tmp_path / target) == 0
    assert len(list((tmp_path / "kitti_road/training/image_2").iterdir())) == len(
        list(example.glob("*.json"))
    )
