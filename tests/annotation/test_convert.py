from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from drawing import SIZE, annotation, convert, picture, reasons, report_of, shape, write_folder

from perception.cli import main
from perception.files import read_image, read_raster, write_image
from tests.shared import ROOT

ROAD = shape("road", "polygon", [[4, 20], [55, 18], [59, 39], [0, 39]])
CAR = shape("car", "rectangle", [[10, 10], [30, 30]])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def png_bytes(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("target", ["kitti_road", "kitti_object", "cityscapes", "coco", "yolo"])
def test_the_number_of_workers_changes_no_byte(target: str, tmp_path: Path):
    src = write_folder(tmp_path / "src", {f"f{k}": [ROAD, CAR] for k in range(7)})

    for workers in ("1", "3"):
        words = ["convert", "labelme", "--to", target, str(src), str(tmp_path / workers)]
        assert main([*words, "--workers", workers]) == 0

    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_a_killed_run_is_resumed_and_what_is_up_to_date_is_not_written_again(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ROAD], "b": [CAR]})
    out = tmp_path / "out"
    assert convert("cityscapes", src, out) == 0
    whole = tree(out)
    gone, kept = sorted(out.rglob("*_labelIds.png"))
    gone.unlink()
    os.utime(kept, (1, 1))

    assert convert("cityscapes", src, out) == 2  # not empty
    assert convert("cityscapes", src, out, "--overwrite") == 0

    assert tree(out) == whole
    assert kept.stat().st_mtime == 1


def test_wrong_usage_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    before = tree(tmp_path)
    wrong = [
        ["--workers", "0"],
        ["--city", "a_b"],
        ["--split", "../up"],
        ["--category", "xx"],
        ["--label-map", str(tmp_path / "none.json")],
        ["--calib", str(tmp_path / "none")],
        ["--category", "uu"],  # not of this target
    ]

    for words in wrong:
        assert convert("cityscapes", src, tmp_path / "out", *words) == 2
    assert convert("cityscapes", src, src / "out") == 2
    assert convert("cityscapes", src, src) == 2
    assert convert("cityscapes", tmp_path / "none", tmp_path / "out") == 2
    assert convert("cityscapes", src, src / "a.json") == 2

    assert tree(tmp_path) == before
    assert "Traceback" not in capsys.readouterr().err


def test_one_run_names_every_error_of_a_file(tmp_path: Path):
    shapes = [
        shape("rood", "polygon", [[1, 1], [5, 5], [9, 1]]),
        CAR,
        {"points": []},
        shape("car", "blob", [[1, 1]]),
    ]
    src = write_folder(tmp_path / "src", {"a": shapes, "b": [CAR]})
    (src / "a.png").unlink()

    assert convert("kitti_object", src, tmp_path / "out") == 1

    assert reasons(tmp_path / "out", "errors") == [
        ("a.json", None, "image_missing"),
        ("a.json", 0, "unknown_label"),
        ("a.json", 2, "bad_shape"),
        ("a.json", 3, "unsupported_shape_type"),
    ]
    assert "did you mean road?" in report_of(tmp_path / "out")["errors"][1]["detail"]
    assert not list((tmp_path / "out").rglob("000000*"))
    assert (tmp_path / "out/training/label_2/000001.txt").is_file()


def test_calibration_is_carried_to_the_new_name(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"x": [ROAD], "y": [ROAD]})
    (tmp_path / "calib").mkdir()
    (tmp_path / "calib" / "y.txt").write_text("P2: 1\n")

    assert convert("kitti_road", src, tmp_path / "out", "--calib", str(tmp_path / "calib")) == 0

    assert (tmp_path / "out/training/calib/um_000001.txt").read_text() == "P2: 1\n"
    assert ("x.json", None, "calibration_missing") in reasons(tmp_path / "out", "warnings")


def test_our_own_report_in_the_source_is_not_an_annotation(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"z": [ROAD]})
    (src / "report.json").write_text('{"target": "labelme", "converted": []}')

    assert convert("kitti_road", src, tmp_path / "out") == 0

    assert [e["name"] for e in report_of(tmp_path / "out")["converted"]] == ["um_000000"]


def test_every_kind_of_image_becomes_8_bit_rgb(tmp_path: Path):
    src = tmp_path / "src"
    src.mkdir()
    grey = picture()[..., 0]
    deep = grey.astype(np.uint16) * 256 + 7
    alpha = np.dstack([picture(), np.full(SIZE, 9, np.uint8)])
    palette = PIL.Image.fromarray(picture()).quantize(16)
    images = {"grey": grey, "deep": deep, "alpha": alpha, "palette": palette}
    for name, image in images.items():
        made = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)
        made.save(src / f"{name}.png")
        (src / f"{name}.json").write_text(json.dumps(annotation([ROAD], f"{name}.png")))

    assert convert("kitti_road", src, tmp_path / "out") == 0

    written = [read_raster(p) for p in sorted((tmp_path / "out/training/image_2").iterdir())]
    repeated = np.repeat(grey[..., None], 3, 2)
    expected = [picture(), repeated, repeated, np.asarray(palette.convert("RGB"))]
    for got, want in zip(written, expected, strict=True):
        np.testing.assert_array_equal(got, want)
    warned = {
        file for file, _, code in reasons(tmp_path / "out", "warnings") if code == "image_mode"
    }
    assert warned == {"alpha.json", "deep.json", "palette.json"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_with_exif_rotation_is_written_upright(orientation: int, tmp_path: Path):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = PIL.Image.fromarray(picture())
    src = tmp_path / "src"
    src.mkdir()
    image.save(src / "a.png", exif=exif)
    size = SIZE[::-1] if orientation >= 5 else SIZE
    content = annotation([ROAD], imageHeight=size[0], imageWidth=size[1])
    (src / "a.json").write_text(json.dumps(content))

    assert convert("kitti_road", src, tmp_path / "out") == 0

    turn = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
            5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
            7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90}[orientation]  # fmt: skip
    got = read_image(tmp_path / "out/training/image_2/um_000000.png")
    np.testing.assert_array_equal(got, turn(picture()))
    assert reasons(tmp_path / "out", "warnings") == []


def test_image_data_is_used_and_copied_byte_for_byte(tmp_path: Path):
    data = png_bytes(picture(5))
    (tmp_path / "src").mkdir()
    content = annotation([ROAD], "gone.png", imageData=base64.b64encode(data).decode())
    (tmp_path / "src" / "a.json").write_text(json.dumps(content))

    assert convert("kitti_road", tmp_path / "src", tmp_path / "out") == 0

    assert (tmp_path / "out/training/image_2/um_000000.png").read_bytes() == data


def test_what_hurts_is_refused_in_little_time_and_memory(tmp_path: Path):
    """Limits are those of the process: 1.5 GB of memory, 60 seconds."""
    src = tmp_path / "src"
    src.mkdir()
    write_image(src / "i.png", picture())
    bomb = io.BytesIO()
    PIL.Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    (src / "bomb.png").write_bytes(bomb.getvalue())
    files = {
        "bomb": annotation([ROAD], "bomb.png", imageHeight=20_000, imageWidth=20_000),
        "data": annotation([ROAD], imageData=base64.b64encode(bomb.getvalue()).decode()),
        "mask": annotation([shape("road", "mask", [[0, 0], [1, 1]],
                                  mask=base64.b64encode(bomb.getvalue()).decode())], "i.png"),
        "many": annotation([shape("road", "polygon", np.random.default_rng(0).uniform(
            0, 40, (300_000, 2)).round(1).tolist())], "i.png"),
        "device": annotation([ROAD], "/dev/zero"),
        "up": annotation([ROAD], "../../../../etc/hostname"),
        "null": annotation([ROAD], "a\x00b"),
        "long": annotation([ROAD], "a" * 9000 + ".png"),
        "folder": annotation([ROAD], "."),
    }  # fmt: skip
    for name, content in files.items():
        (src / f"{name}.json").write_text(json.dumps(content))
    with (src / "huge.json").open("wb") as file:
        file.truncate(1 << 30)
    os.mkfifo(src / "pipe.json")
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (1500 << 20,) * 2);"
        "from perception.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [
        "convert",
        "labelme",
        "--to",
        "cityscapes",
        str(src),
        str(tmp_path / "out"),
        "--workers",
        "1",
    ]

    done = subprocess.run(
        [sys.executable, "-c", limited, *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )

    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    codes = {file.split(".")[0]: code for file, _, code in reasons(tmp_path / "out", "errors")}
    assert codes == {
        "bomb": "image_too_large",
        "data": "image_too_large",
        "mask": "bad_mask",
        "many": "bad_points",
        "device": "path_outside",
        "up": "path_outside",
        "null": "image_missing",
        "long": "image_missing",
        "folder": "image_missing",
        "huge": "json_too_large",
        "pipe": "json_invalid",
    }
    assert list(tree(tmp_path / "out")) == ["report.json"]


def test_a_label_map_is_made_from_a_folder_and_can_be_used(tmp_path: Path):
    src = write_folder(
        tmp_path / "src", {"a": [ROAD, CAR, shape("Asphalt!", "polygon", ROAD["points"])]}
    )
    for name in ("map.yaml", "map.json"):
        made = tmp_path / name

        assert main(["convert", "labelme", "--make-map", str(made), str(src)]) == 0
        assert main(["convert", "labelme", "--make-map", str(made), str(src)]) == 2

        out = tmp_path / f"out {name}"
        assert convert("kitti_road", src, out, "--label-map", str(made)) == 0
    assert "Asphalt!" in (tmp_path / "map.yaml").read_text()
    assert "unknown, 1 shapes" in (tmp_path / "map.yaml").read_text()


def test_more_instances_than_the_ids_hold_are_an_error(tmp_path: Path):
    cars = [shape("car", "rectangle", [[1, 1], [5, 5]]) for _ in range(1001)]
    src = write_folder(tmp_path / "src", {"a": cars, "b": cars[1:]})

    assert convert("cityscapes", src, tmp_path / "out") == 1

    assert reasons(tmp_path / "out", "errors") == [("a.json", None, "too_many_instances")]


def test_converting_starts_without_torch():
    code = (
        "import sys, perception.cli.convert, perception.annotation.convert as c;"
        "from perception.annotation import formats as f;"
        "[f.source(n) for n in f.SOURCES]; [f.target(n) for n in f.TARGETS];"
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
