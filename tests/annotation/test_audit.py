from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawing import SIZE, annotation, picture, shape, write_folder

from perception.annotation.fix import fix_content
from perception.annotation.raster import shape_mask
from perception.cli import main
from perception.files import write_image
from perception.formats.labelme import read_shape

ROAD = shape("road", "polygon", [[4, 20], [55, 18], [59, 39], [0, 39]])
CAR = shape("car", "rectangle", [[10, 5], [30, 35]])


def audit(src: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict]]:
    """Exit code and findings of `perception audit --format json`."""
    capsys.readouterr()
    code = main(["audit", str(src), "--format", "json", "--workers", "1", *words])
    return code, json.loads(capsys.readouterr().out)["findings"]


def found(findings: list[dict]) -> set[tuple]:
    """(severity, reason, file, shape) of everything but the counts."""
    return {
        (f["severity"], f["reason"], f["file"], f["shape"])
        for f in findings
        if f["severity"] != "info"
    }


def test_a_clean_folder_has_counts_only(tmp_path: Path, capsys):
    src = write_folder(tmp_path, {"a": [ROAD, CAR], "b": [ROAD]})

    code, findings = audit(src, capsys)

    assert (code, found(findings)) == (0, set())
    counts = {f["reason"]: f["detail"] for f in findings}
    assert counts["labels"] == "road: 2, car: 1"
    assert counts["shape_types"] == "polygon: 2, rectangle: 1"
    assert counts["image_sizes"] == "60x40: 2"
    assert counts["files"] == "2 annotations, 2 without error"


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([ROAD, shape("roda", "rectangle", [[1, 1], [5, 9]])], ("error", "unknown_label", 1)),
        ([ROAD, CAR, CAR], ("warn", "duplicate_shape", 2)),
        (
            [ROAD, CAR, shape("car", "rectangle", [[10, 5], [30, 34]])],
            ("warn", "near_duplicate", 2),
        ),
        ([ROAD, shape("pole", "polygon", [[1, 1], [2, 1], [2, 2]])], ("warn", "tiny_shape", 1)),
        ([CAR, shape("road", "rectangle", [[0, 0], [59, 39]])], ("warn", "hidden_shape", 0)),
        ([ROAD, CAR | {"group_id": 4}], ("warn", "group_of_one", 1)),
        ([ROAD | {"group_id": 4}, CAR | {"group_id": 4}], ("warn", "group_of_labels", 0)),
        ([CAR], ("warn", "cars_without_road", None)),
        ([shape("road", "rectangle", [[0, 5], [59, 39]])], ("warn", "road_in_sky", 0)),
        ([ROAD, shape("car", "polygon", [[1, 1], [2, 2]])], ("warn", "degenerate", 1)),
        ([ROAD, shape("car", "rectangle", [[90, 1], [95, 30]])], ("warn", "outside_image", 1)),
        (
            [ROAD, shape("wall", "polygon", [[0, 0], [9, 9], [9, 0], [0, 9]])],
            ("warn", "self_intersection", 1),
        ),
        ([ROAD, shape("car", "point", [[5, 5]])], ("warn", "no_box", 1)),
        ([], ("warn", "empty_shapes", None)),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_found(shapes: list[dict], expected: tuple, tmp_path: Path, capsys):
    code, findings = audit(write_folder(tmp_path, {"a": shapes}), capsys)

    severity, reason, index = expected
    assert (severity, reason, "a.json", index) in found(findings)
    assert code == (severity == "error")


MISSPELT = shape("roda", "rectangle", [[1, 1], [5, 9]])


def test_all_other_mistakes_of_a_file_with_an_unknown_label_are_found(tmp_path: Path, capsys):
    bow = shape("wall", "polygon", [[0, 0], [9, 9], [9, 0], [0, 9]])
    far = shape("person", "rectangle", [[-7, 5], [20, 30]])
    grouped = shape("truck", "rectangle", [[30, 22], [50, 30]], group_id=4)
    shapes = [ROAD, CAR, CAR, MISSPELT, bow, far, grouped, {"label": 5}]

    code, findings = audit(write_folder(tmp_path, {"a": shapes}), capsys)

    assert code == 1
    assert found(findings) >= {
        ("error", "unknown_label", "a.json", 3),
        ("error", "bad_shape", "a.json", 7),
        ("warn", "duplicate_shape", "a.json", 2),
        ("warn", "self_intersection", "a.json", 4),
        ("warn", "points_outside", "a.json", 5),
        ("warn", "group_of_one", "a.json", 6),
    }
    counts = {f["reason"]: f["detail"] for f in findings if f["severity"] == "info"}
    assert counts["labels"].startswith("car: 2, road: 1")
    assert counts["files"] == "1 annotations, 0 without error"


def test_a_file_without_its_image_is_checked_by_the_size_that_it_names(tmp_path: Path, capsys):
    src = write_folder(
        tmp_path, {"a": [ROAD, CAR, CAR, shape("bus", "rectangle", [[5, 5], [70, 30]])]}
    )
    (src / "a.png").unlink()

    _, findings = audit(src, capsys)

    assert found(findings) >= {
        ("error", "image_missing", "a.json", None),
        ("warn", "duplicate_shape", "a.json", 2),
        ("warn", "points_outside", "a.json", 3),
    }


@pytest.mark.parametrize(
    ("points", "detail"),
    [
        ([[0, 0], [60, 40]], None),
        ([[0, 0], [60.5, 40]], "1 of 2 points of car are outside the image, by up to 0.5 pixels"),
        ([[-3, 5], [20, 52]], "2 of 2 points of car are outside the image, by up to 12 pixels"),
    ],
)
def test_points_outside_the_image_are_mentioned(points, detail, tmp_path: Path, capsys):
    src = write_folder(tmp_path, {"a": [ROAD, shape("car", "rectangle", points)]})

    _, findings = audit(src, capsys)

    said = [f["detail"] for f in findings if f["reason"] == "points_outside"]
    assert said == ([detail] if detail else [])


def test_a_key_that_stands_twice_is_said(tmp_path: Path, capsys):
    src = write_folder(tmp_path, {"a": [ROAD]})
    text = (src / "a.json").read_text()
    (src / "a.json").write_text(text.replace('"shapes":', '"shapes": [], "shapes":', 1))

    _, findings = audit(src, capsys)

    assert ("warn", "duplicate_key", "a.json", None) in found(findings)


def test_a_link_to_itself_ends_no_audit(tmp_path: Path, capsys):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    (src / "loop.png").symlink_to("loop.png")
    (src / "loop.json").symlink_to("loop.json")
    (src / "self").symlink_to("self")

    code, findings = audit(src, capsys)

    assert code == 1
    assert ("error", "json_invalid", "loop.json", None) in found(findings)


def test_a_page_never_replaces_an_annotation(tmp_path: Path, capsys):
    src = write_folder(tmp_path, {"a": [ROAD]})
    before = (src / "a.json").read_bytes()

    assert main(["audit", str(src), "--html", str(src / "a.json")]) == 2
    for _ in range(2):
        assert main(["audit", str(src), "--html", str(tmp_path / "page.html")]) == 0

    assert (src / "a.json").read_bytes() == before


def test_mistakes_across_files_are_found(tmp_path: Path, capsys):
    src = write_folder(tmp_path / "src", {"a": [ROAD, CAR], "b": [ROAD, CAR | {"label": "Car"}]})
    write_image(src / "b.png", picture(0))  # the same pixels as a.png
    write_image(src / "lonely.png", picture(7))
    write_folder(src / "other", {"c": [ROAD]})
    (src / "d.json").write_text(json.dumps(annotation([ROAD], "other/c.png")))
    low = shape("van", "rectangle", [[1, 1], [5, 9]])
    write_folder(src / "other", {"e": [ROAD, low]})

    _, findings = audit(src, capsys)

    details = {f["reason"]: f["detail"] for f in findings if f["severity"] == "warn"}
    assert details["label_spellings"] == "car is written as car (1), Car (1)"
    assert details["image_without_labels"] == "lonely.png has no annotation"
    assert details["low_boxes"].startswith("van: 1 of 1 boxes are lower than 25 pixels")
    assert ("warn", "same_image", "b.json", None) in found(findings)
    assert ("warn", "image_elsewhere", "d.json", None) in found(findings)


def test_names_that_would_clash_are_found(tmp_path: Path, capsys):
    for folder in "xy":
        write_folder(tmp_path / "src" / folder, {"000007": [ROAD]})

    code, findings = audit(tmp_path / "src", capsys)

    assert code == 1
    assert ("error", "duplicate_name", "y/000007.json", None) in found(findings)


def test_the_number_of_workers_changes_nothing(tmp_path: Path, capsys):
    src = write_folder(tmp_path, {f"f{k}": [ROAD, CAR, CAR] for k in range(6)})

    assert audit(src, capsys) == audit(src, capsys, "--workers", "2")


def test_the_page_shows_each_finding(tmp_path: Path, capsys):
    misspelt = shape("roda", "circle", [[9, 9], [12, 9]])
    src = write_folder(tmp_path / "src", {"a<b": [ROAD, CAR, CAR], "c": [misspelt]})
    (src / "broken.json").write_text("{")

    code, _ = audit(src, capsys, "--html", str(tmp_path / "page.html"))

    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert code == 1
    assert "json_invalid" in page and "did you mean road?" in page
    assert "a&lt;b.json" in page and "a<b.json" not in page
    assert page.count("<img ") >= 2


def test_fixing_clips_and_removes_and_changes_nothing_else(tmp_path: Path, capsys):
    repeated = shape("wall", "polygon", [[1, 1], [9, 1], [9, 1], [9, 9], [1, 1]], mine=[1.50])
    outside = shape("car", "rectangle", [[-10, 5], [30.5, 70]])
    circle = shape("person", "circle", [[1, 1], [9, 1]])
    src = write_folder(
        tmp_path / "src", {"a": [ROAD, CAR, dict(CAR), repeated, outside, circle], "b": [ROAD]}
    )
    content = json.loads((src / "a.json").read_text())
    (src / "a.json").write_text(json.dumps(content | {"own": {"k": None}}))

    audit(src, capsys, "--fix", str(tmp_path / "out"))

    fixed = json.loads((tmp_path / "out/a.json").read_text())
    assert fixed["own"] == {"k": None}
    assert [s["label"] for s in fixed["shapes"]] == ["road", "car", "wall", "car", "person"]
    assert fixed["shapes"][0] == ROAD and fixed["shapes"][4] == circle
    assert fixed["shapes"][2]["points"] == [[1, 1], [9, 1], [9, 9]]
    assert fixed["shapes"][2]["mine"] == [1.50]
    assert fixed["shapes"][3]["points"] == [[0, 5], [30.5, 40]]
    assert (tmp_path / "out/b.json").read_bytes() == (src / "b.json").read_bytes()
    assert (tmp_path / "out/a.png").read_bytes() == (src / "a.png").read_bytes()


def test_clipping_keeps_the_pixels_of_a_polygon():
    raw = shape("road", "polygon", [[-30, 60], [20, 10], [45, 12], [90, 55]])

    fixed, done = fix_content(annotation([raw]), SIZE)

    points = np.array(fixed["shapes"][0]["points"])
    assert done.clipped == 1
    assert (points >= 0).all() and (points <= (60, 40)).all()
    before, after = (shape_mask(read_shape(s)[0], SIZE) for s in (raw, fixed["shapes"][0]))
    assert (before & after).sum() >= 0.99 * (before | after).sum()


def test_wrong_use_of_audit_is_refused(tmp_path: Path, capsys):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})

    assert main(["audit", str(tmp_path / "none")]) == 2
    assert main(["audit", str(src), "--fix", str(src / "fixed")]) == 2
    assert main(["audit", str(src), "--fix", str(src)]) == 2
    assert main(["audit", str(src), "--workers", "0"]) == 2
    assert sorted(p.name for p in src.iterdir()) == ["a.json", "a.png"]


def opens(path: Path) -> bool:
    """Whether labelme finds the picture of an annotation: embedded, or where `imagePath` says."""
    content = json.loads(path.read_text())
    return bool(content["imageData"]) or (path.parent / content["imagePath"]).is_file()


def test_a_fixed_copy_has_every_image_and_opens(tmp_path: Path, capsys):
    src = write_folder(tmp_path / "src", {"a": [ROAD, MISSPELT], "b": [ROAD], "c": [ROAD]})
    moved = json.loads((src / "a.json").read_text()) | {"imagePath": "..\\old\\a.png"}
    (src / "a.json").write_text(json.dumps(moved))
    broken = json.loads((src / "b.json").read_text()) | {"imageData": "AAAA", "imageWidth": 61}
    (src / "b.json").write_text(json.dumps(broken))
    write_image(src / "sub/lonely.png", picture(9))

    audit(src, capsys, "--fix", str(tmp_path / "out"))

    out = tmp_path / "out"
    pictures = {p.relative_to(src): p.read_bytes() for p in src.rglob("*.png")}
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*.png")} == pictures
    assert all(opens(path) for path in out.glob("*.json"))
    assert json.loads((out / "a.json").read_text())["imagePath"] == "a.png"
    assert (out / "c.json").read_bytes() == (src / "c.json").read_bytes()


def test_a_fixed_copy_audits_clean_or_says_what_is_left(tmp_path: Path, capsys):
    far = shape("car", "rectangle", [[-10, 5], [5, 70]])
    src = write_folder(tmp_path / "src", {"a": [ROAD, CAR, CAR, far], "b": [ROAD]})
    assert main(["audit", str(src), "--fix", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "the copy is clean" in capsys.readouterr().out
    assert audit(tmp_path / "out", capsys)[0] == 0

    write_folder(src, {"c": [ROAD, MISSPELT | {"label": "tuk tuk"}]})
    write_image(src / "c.png", picture(3))
    (src / "d.json").write_text("{")
    assert main(["audit", str(src), "--fix", str(tmp_path / "two"), "--workers", "1"]) == 1

    said = [x for x in capsys.readouterr().out.splitlines() if x.startswith("not fixed: ")]
    assert [line.split(": ")[1:3] for line in said] == [
        ["c.json shape 1", "unknown_label"],
        ["d.json", "json_invalid"],
    ]


def test_images_from_elsewhere_are_copied_beside_their_annotations(tmp_path: Path, capsys):
    src = write_folder(tmp_path / "src", {"a": [ROAD], "b": [ROAD]})
    for stem in "ab":
        write_image(tmp_path / stem / "1.png", picture(ord(stem)))
        content = json.loads((src / f"{stem}.json").read_text())
        (src / f"{stem}.json").write_text(json.dumps(content | {"imagePath": f"../{stem}/1.png"}))

    audit(src, capsys, "--allow-outside", "--fix", str(tmp_path / "out"))

    for stem in "ab":
        path = json.loads((tmp_path / f"out/{stem}.json").read_text())["imagePath"]
        copied = (tmp_path / "out" / path).read_bytes()
        assert copied == (tmp_path / stem / "1.png").read_bytes()


def test_links_out_of_the_folder_are_not_copied_and_that_is_said(tmp_path: Path, capsys):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    write_folder(tmp_path / "secret", {"s": [ROAD]})
    (src / "s.json").symlink_to(tmp_path / "secret/s.json")
    (src / "s.png").symlink_to(tmp_path / "secret/s.png")

    assert main(["audit", str(src), "--fix", str(tmp_path / "out"), "--workers", "1"]) == 1

    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.json", "a.png"]
    assert "not copied: s.json" in capsys.readouterr().out
