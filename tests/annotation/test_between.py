"""Conversions between the other formats, by hand-worked numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawing import SIZE, convert, picture, reasons, shape, write_folder
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from perception.annotation.sources.camvid import ORIGINAL
from perception.files import read_label, read_raster, write_image
from perception.formats import rle
from perception.formats.bdd100k import bezier
from perception.labels import load_scheme


def labelme_shapes(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["shapes"]


def test_a_curve_passes_its_ends_and_bends_toward_its_control_points():
    points = np.array([[0, 0], [0, 10], [10, 10], [10, 0]], float)

    path = bezier(points, "LCCL", closed=False)

    assert path[0].tolist() == [0, 0] and path[-1].tolist() == [10, 0]
    assert path[len(path) // 2].tolist() == [5, 7.5]  # the middle of a cubic
    np.testing.assert_array_equal(bezier(points, "LLLL", closed=True), points)


def test_a_closed_curve_may_end_where_it_starts():
    points = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)

    path = bezier(points, "LLCC", closed=True)

    assert path[0].tolist() == [0, 0]
    assert len(path) == 2 + 11  # the curve back to the first point, which is not repeated


def bdd_labels() -> list[dict]:
    return [
        {"category": "car", "attributes": {"occluded": True, "truncated": False},
         "box2d": {"x1": 1.5, "y1": 2.0, "x2": 10.0, "y2": 20.0}},
        {"category": "drivable area", "attributes": {"areaType": "direct"},
         "poly2d": [{"vertices": [[0, 30], [50, 30], [59, 39]], "types": "LLL", "closed": True}]},
        {"category": "drivable area", "attributes": {"areaType": "alternative"},
         "poly2d": [{"vertices": [[50, 30], [55, 30], [59, 35]], "types": "LLL", "closed": True}]},
        {"category": "lane", "attributes": {"laneTypes": "crosswalk"},
         "poly2d": [{"vertices": [[5, 30], [9, 39]], "types": "LL", "closed": False}]},
        {"category": "lane", "attributes": {"laneTypes": "road curb"},
         "poly2d": [{"vertices": [[5, 30], [9, 39]], "types": "LL", "closed": False}]},
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["list", "one file per image", "scalabel"])
def test_bdd100k_boxes_areas_and_lanes_become_shapes(form: str, tmp_path: Path):
    write_image(tmp_path / "src/images/ü-1.jpg", picture())
    labels = bdd_labels()
    content: object = [{"name": "ü-1.jpg", "labels": labels}]
    if form == "scalabel":
        content = {"frames": content, "config": {}}
    elif form == "one file per image":
        for label in labels[1:]:
            part = label["poly2d"][0]
            label["poly2d"] = [
                [*p, t] for p, t in zip(part["vertices"], part["types"], strict=True)
            ]
        labels[1]["category"], labels[2]["category"] = "area/drivable", "area/alternative"
        labels[3]["category"], labels[4]["category"] = "lane/crosswalk", "lane/road curb"
        content = {"name": "ü-1", "frames": [{"timestamp": 1, "objects": labels}]}
    (tmp_path / "src/labels.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")

    assert convert("labelme", tmp_path / "src", tmp_path / "out", source="bdd100k") == 0

    shapes = labelme_shapes(tmp_path / "out/ü-1.json")
    assert [(s["label"], s["shape_type"]) for s in shapes] == [
        ("car", "rectangle"),
        ("lane", "polygon"),
        ("road", "polygon"),
        ("lane marking", "linestrip"),
    ]
    assert shapes[0]["points"] == [[1.5, 2.0], [11.0, 21.0]]  # inclusive pixels at the far end
    assert shapes[0]["flags"] == {"occluded": True}
    assert shapes[3]["line_width"] == 10
    assert [code for _, _, code in reasons(tmp_path / "out", "warnings")] == ["not_converted"]


def test_open_images_boxes_flags_and_groups_become_kitti_lines(tmp_path: Path):
    """XMin, XMax, YMin, YMax in that order; a group and a depiction are DontCare."""
    (tmp_path / "src").mkdir()
    write_image(tmp_path / "src/abc.jpg", picture())
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
        "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
    )
    rows = [
        "/m/0k4j,1,0.1,0.5,0.2,0.8,1,0,0,0,0",
        "/m/0k4j,1,0.6,0.9,0.25,0.5,0,0,1,0,0",
        "/m/01g317,1,0.0,0.1,0.0,0.5,-1,-1,0,1,0",
        "/m/xyz,1,0.5,0.6,0.5,0.75,0,1,0,0,0",
    ]
    (tmp_path / "src/boxes.csv").write_text(head + "".join(f"abc,x,{row}\n" for row in rows))
    (tmp_path / "src/classes.csv").write_text("/m/xyz,Woman\n/m/0k4j,Car\n")

    assert convert("kitti_object", tmp_path / "src", tmp_path / "out", source="open_images") == 0

    rest = "-1 -1 -1 -1000 -1000 -1000 -10"
    assert (tmp_path / "out/training/label_2/000000.txt").read_text().splitlines() == [
        f"Car 0.00 1 -10 6.00 8.00 30.00 32.00 {rest}",
        f"Pedestrian 0.50 0 -10 30.00 20.00 36.00 30.00 {rest}",
        f"DontCare -1 -1 -10 36.00 10.00 54.00 20.00 {rest}",
        f"DontCare -1 -1 -10 0.00 0.00 6.00 20.00 {rest}",
    ]


def test_camvid_ids_become_cityscapes_ids(tmp_path: Path):
    ids = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8) % 12
    write_image(tmp_path / "src/train/f.png", picture())
    write_image(tmp_path / "src/trainannot/f.png", ids)

    assert convert("cityscapes", tmp_path / "src", tmp_path / "out", source="camvid") == 0

    got = read_label(next((tmp_path / "out").rglob("*_labelIds.png")))
    table = np.array([23, 11, 17, 7, 8, 21, 20, 13, 26, 24, 25, 0])
    np.testing.assert_array_equal(got, table[ids])
    np.testing.assert_array_equal(  # no instances are told apart
        read_label(next((tmp_path / "out").rglob("*_instanceIds.png"))), got
    )


def test_the_colours_of_the_original_camvid_are_read(tmp_path: Path):
    colours = np.array(list(ORIGINAL), np.uint8)
    pixels = colours[np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % len(colours)]
    write_image(tmp_path / "src/f.png", picture())
    write_image(tmp_path / "src/f_L.png", pixels)

    assert convert("cityscapes", tmp_path / "src", tmp_path / "out", source="camvid") == 0

    got = read_label(next((tmp_path / "out").rglob("*_labelIds.png")))
    names = load_scheme("cityscapes").by_name
    assert (got[(pixels == (128, 64, 128)).all(2)] == names["road"].id).all()
    assert (got[(pixels == (64, 0, 128)).all(2)] == names["car"].id).all()


def test_cityscapes_becomes_kitti_road_with_the_pavement_to_taste(tmp_path: Path):
    ids = np.full(SIZE, 11, np.uint8)
    ids[20:], ids[30:, 30:], ids[39] = 7, 8, 1  # road, sidewalk, ego vehicle
    base = "train/ulm/ulm_000000_000019_"
    write_image(tmp_path / f"cs/leftImg8bit/{base}leftImg8bit.png", picture())
    write_image(tmp_path / f"cs/gtFine/{base}gtFine_labelIds.png", ids)
    (tmp_path / "map.yaml").write_text("labels: {sidewalk: {as: sidewalk, road: road}}\n")
    magenta, red, black = (255, 0, 255), (255, 0, 0), (0, 0, 0)

    for words, pavement in (((), red), (("--label-map", str(tmp_path / "map.yaml")), magenta)):
        out = tmp_path / f"out{len(words)}"
        assert convert("kitti_road", tmp_path / "cs", out, *words, source="cityscapes") == 0

        got = read_raster(out / "training/gt_image_2/um_road_000000.png")
        assert [tuple(got[y, x].tolist()) for y, x in ((0, 0), (25, 5), (35, 40), (39, 0))] == [
            red,
            magenta,
            pavement,
            black,
        ]


@settings(max_examples=50, deadline=None)
@given(arrays(bool, (5, 7)))
def test_run_lengths_are_column_major_start_with_0_and_come_back(mask: np.ndarray):
    np.testing.assert_array_equal(rle.decode(rle.encode(mask), mask.shape), mask)


def test_run_lengths_by_hand():
    assert rle.encode(np.array([[1, 0], [1, 1]], bool)) == [0, 2, 1, 1]
    assert rle.encode(np.zeros((2, 2), bool)) == [4]


def test_coco_and_yolo_hold_the_box_by_hand(tmp_path: Path):
    shapes = [shape("car", "rectangle", [[6, 8], [30, 32]]),
              shape("person", "polygon", [[40, 10], [50, 10], [50, 30], [40, 30]], group_id=1),
              shape("person", "polygon", [[52, 10], [54, 10], [54, 30]], group_id=1),
              shape("cargroup", "rectangle", [[0, 0], [10, 5]]),
              shape("road", "rectangle", [[0, 30], [59, 39]]),
              shape("ignore", "rectangle", [[0, 30], [5, 39]])]  # fmt: skip
    src = write_folder(tmp_path / "src", {"a": shapes})

    assert convert("coco", src, tmp_path / "coco") == 0
    assert convert("yolo", src, tmp_path / "yolo") == 0

    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
    rows = [(names[a["category_id"]], a["bbox"], a["iscrowd"]) for a in content["annotations"]]
    assert rows == [("car", [6, 8, 24, 24], 0), ("person", [40, 10, 14, 20], 0),
                    ("car", [0, 0, 10, 5], 1)]  # fmt: skip
    assert [len(a["segmentation"]) for a in content["annotations"]] == [1, 2, 2]
    assert content["annotations"][0]["segmentation"] == [[6, 8, 30, 8, 30, 32, 6, 32]]
    assert content["annotations"][2]["segmentation"]["size"] == [40, 60]
    lines = (tmp_path / "yolo/labels/a.txt").read_text().splitlines()
    assert lines[0].split()[1:] == ["0.300000", "0.500000", "0.400000", "0.600000"]
    assert len(lines) == 2
    assert [code for _, _, code in reasons(tmp_path / "yolo", "warnings")] == [
        "ignore_not_written",
        "ignore_not_written",
    ]


@pytest.mark.parametrize(
    "shapes",
    [
        [shape("car", "circle", [[20, 20], [28, 20]])],
        [shape("car", "rectangle", [[6, 8], [30, 32]])],
        [shape("car", "rectangle", [[30, 32], [6, 8]])],
        [shape("car", "rectangle", [[-6, 8], [30, 52]])],
    ],
    ids=["circle", "rectangle", "corners in another order", "partly outside"],
)
def test_the_segmentations_are_what_the_coco_tools_decode(shapes: list[dict], tmp_path: Path):
    mask = pytest.importorskip("faster_coco_eval.core.mask")
    src = write_folder(tmp_path / "src", {"a": shapes})
    assert convert("coco", src, tmp_path / "out") == 0

    annotation = json.loads((tmp_path / "out/annotations.json").read_text())["annotations"][0]
    decoded = mask.decode(mask.frPyObjects(annotation["segmentation"], *SIZE))

    assert int(decoded.sum()) == annotation["area"]
    assert decoded.shape[:2] == SIZE


def test_two_rectangles_of_one_object_keep_both_outlines(tmp_path: Path):
    parts = [shape("car", "rectangle", [[0, 0], [9, 9]], group_id=1),
             shape("car", "rectangle", [[20, 0], [29, 9]], group_id=1)]  # fmt: skip
    src = write_folder(tmp_path / "src", {"a": parts})

    assert convert("coco", src, tmp_path / "out") == 0

    (one,) = json.loads((tmp_path / "out/annotations.json").read_text())["annotations"]
    assert one["segmentation"] == [[0, 0, 9, 0, 9, 9, 0, 9], [20, 0, 29, 0, 29, 9, 20, 9]]
    assert one["bbox"] == [0, 0, 29, 9]


@pytest.mark.parametrize("target", ["coco", "yolo"])
def test_a_box_without_area_is_left_out_with_a_warning(target: str, tmp_path: Path):
    flat = shape("car", "rectangle", [[5, 5], [30, 5]])
    src = write_folder(tmp_path / "src", {"a": [flat]})

    assert convert(target, src, tmp_path / "out") == 0

    assert reasons(tmp_path / "out", "warnings") == [("a.json", 0, "degenerate")]


def bdd_box(**corners: float) -> dict:
    return {"category": "car", "box2d": corners}


def test_an_inverted_bdd100k_box_covers_the_same_pixels_and_is_reported(tmp_path: Path):
    """Inclusive pixels 5..40 and 5..30, whichever corner is written first."""
    write_image(tmp_path / "src/a.png", picture())
    labels = [bdd_box(x1=40, y1=30, x2=5, y2=5), bdd_box(x1=5, y1=5, x2=40, y2=30)]
    (tmp_path / "src/l.json").write_text(json.dumps([{"name": "a.png", "labels": labels}]))

    assert convert("kitti_object", tmp_path / "src", tmp_path / "out", source="bdd100k") == 0

    lines = (tmp_path / "out/training/label_2/000000.txt").read_text().splitlines()
    assert [line.split()[4:8] for line in lines] == [["5.00", "5.00", "41.00", "31.00"]] * 2
    assert reasons(tmp_path / "out", "warnings") == [("l.json#a.png", 0, "inverted_box")]


def test_unknown_truncation_and_occlusion_come_back_from_labelme_as_unknown(tmp_path: Path):
    line = "Car -1 -1 -10 1.00 2.00 30.00 20.00 -1 -1 -1 -1000 -1000 -1000 -10"
    (tmp_path / "src/training/label_2").mkdir(parents=True)
    (tmp_path / "src/training/label_2/000000.txt").write_text(f"{line}\n")
    write_image(tmp_path / "src/training/image_2/000000.png", picture())

    assert convert("labelme", tmp_path / "src", tmp_path / "l", source="kitti_object") == 0
    assert convert("kitti_object", tmp_path / "l", tmp_path / "back") == 0

    assert (tmp_path / "back/training/label_2/000000.txt").read_text() == f"{line}\n"
    assert reasons(tmp_path / "back", "warnings") == []
