"""Round trips between formats, over generated scenes."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from drawing import (
    SIZE,
    annotation,
    boxes,
    convert,
    parsed,
    picture,
    reasons,
    shape,
    shapes,
    write_folder,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.annotation.raster import shape_mask
from perception.files import read_label, read_raster, write_image
from perception.formats import labelme
from perception.formats.labelme import Document

RASTERS = ("labelIds", "labelTrainIds", "instanceIds", "color")
CITY = "gtFine/train/custom/custom_000000_000000_gtFine_"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws")


def fresh(work: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=work))


def rasters(out: Path) -> list[np.ndarray]:
    return [read_raster(out / f"{CITY}{kind}.png") for kind in RASTERS]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=25, deadline=None)
@given(drawn=st.lists(shapes(), max_size=6))
def test_labelme_to_cityscapes_and_back_and_forth_keeps_every_raster(work: Path, drawn: list):
    folder = fresh(work)
    write_folder(folder / "src", {"a": drawn})

    assert convert("cityscapes", folder / "src", folder / "one") == 0
    assert convert("labelme", folder / "one", folder / "back", source="cityscapes") == 0
    assert convert("cityscapes", folder / "back", folder / "two") == 0

    same(rasters(folder / "one"), rasters(folder / "two"))


@settings(max_examples=25, deadline=None)
@given(lines=boxes())
def test_kitti_object_to_labelme_and_back_keeps_every_line(work: Path, lines: tuple[str, ...]):
    folder = fresh(work)
    label = folder / "kitti" / "training" / "label_2" / "000007.txt"
    label.parent.mkdir(parents=True)
    label.write_text("".join(f"{line}\n" for line in lines))
    write_image(folder / "kitti" / "training" / "image_2" / "000007.png", picture())

    assert convert("labelme", folder / "kitti", folder / "back", source="kitti_object") == 0
    assert convert("kitti_object", folder / "back", folder / "two") == 0

    assert (folder / "two/training/label_2/000007.txt").read_text() == label.read_text()


def test_an_edited_box_changes_columns_5_to_8_only(tmp_path: Path):
    line = "Car 0.35 2 1.85 10.00 18.63 42.40 30.33 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
    (tmp_path / "k/training/label_2").mkdir(parents=True)
    (tmp_path / "k/training/label_2/000000.txt").write_text(line + "\n")
    write_image(tmp_path / "k/training/image_2/000000.png", picture())
    assert convert("labelme", tmp_path / "k", tmp_path / "l", source="kitti_object") == 0
    path = tmp_path / "l/000000.json"
    content = json.loads(path.read_text())
    content["shapes"][0]["points"] = [[-6.0, 2.0], [20.0, 30.5]]
    path.write_text(json.dumps(content))

    assert convert("kitti_object", tmp_path / "l", tmp_path / "o") == 0

    got = (tmp_path / "o/training/label_2/000000.txt").read_text().split()
    assert got[4:8] == ["0.00", "2.00", "20.00", "30.50"]
    assert got[:4] + got[8:] == line.split()[:4] + line.split()[8:]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), lane=st.booleans())
def test_kitti_road_to_labelme_and_back_keeps_every_pixel(work: Path, seed: int, lane: bool):
    folder, rng = fresh(work), np.random.default_rng(seed)
    road, valid = rng.random(SIZE) > 0.5, rng.random(SIZE) > 0.2
    ego = road & (rng.random(SIZE) > 0.5)
    labels = folder / "kitti" / "training" / "gt_image_2"
    masks = {"um_road_000003": road} | ({"um_lane_000003": ego} if lane else {})
    for name, mask in masks.items():
        pixels = np.zeros((*SIZE, 3), np.uint8)
        pixels[valid, 0] = 255
        pixels[valid & mask, 2] = 255
        write_image(labels / f"{name}.png", pixels)
    write_image(folder / "kitti" / "training" / "image_2" / "um_000003.png", picture())

    assert convert("labelme", folder / "kitti", folder / "back", source="kitti_road") == 0
    assert convert("kitti_road", folder / "back", folder / "two") == 0

    written = sorted(labels.iterdir())
    assert [p.name for p in written] == [
        p.name for p in sorted((folder / "two/training/gt_image_2").iterdir())
    ]
    same(
        [read_raster(path) for path in written],
        [read_raster(folder / "two/training/gt_image_2" / path.name) for path in written],
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(shapes(), max_size=3), extra=_JSON, own=_JSON)
def test_rewriting_a_labelme_file_keeps_its_value(drawn: list, extra: object, own: object):
    content = annotation([one | {"my key": own} for one in drawn], zzz=extra, aaa=1.50)

    rewritten = json.loads(labelme.encode(Document(content)))

    assert rewritten == content
    assert list(rewritten) == list(content)
    assert [list(s) for s in rewritten["shapes"]] == [list(s) for s in content["shapes"]]


@settings(max_examples=15, deadline=None)
@given(drawn=st.lists(shapes(), max_size=4), order=st.randoms())
def test_shapes_that_do_not_overlap_may_stand_in_any_order(work: Path, drawn: list, order):
    folder = fresh(work)
    apart = [
        shape("car", "rectangle", [[12 * k, 3], [12 * k + 9, 20]], group_id=one["group_id"])
        if k % 2
        else shape("road", "rectangle", [[12 * k, 25], [12 * k + 9, 36]])
        for k, one in enumerate(drawn)
    ]
    shuffled = list(apart)
    order.shuffle(shuffled)
    write_folder(folder / "a", {"a": apart})
    write_folder(folder / "b", {"a": shuffled})
    for name in "ab":
        assert convert("cityscapes", folder / name, folder / f"out {name}") == 0

    same(rasters(folder / "out a")[:2], rasters(folder / "out b")[:2])


@settings(max_examples=15, deadline=None)
@given(drawn=st.lists(shapes(), min_size=1, max_size=4))
def test_a_shape_wholly_outside_changes_no_raster(work: Path, drawn: list):
    folder = fresh(work)
    far = shape("car", "polygon", [[200, 5], [220, 5], [210, 30]])
    write_folder(folder / "a", {"a": drawn})
    write_folder(folder / "b", {"a": [far, *drawn]})
    for name in "ab":
        assert convert("cityscapes", folder / name, folder / f"out {name}") == 0

    same(rasters(folder / "out a"), rasters(folder / "out b"))
    assert ("a.json", 0, "outside_image") in reasons(folder / "out b", "warnings")


@settings(max_examples=25, deadline=None)
@given(
    drawn=st.sampled_from(["road", "car", "sky"]).flatmap(
        lambda label: st.lists(shapes((label,)), min_size=2, max_size=8)
    )
)
def test_disjoint_shapes_of_one_class_are_drawn_as_all_of_their_rasters(work: Path, drawn: list):
    folder = fresh(work)
    apart: list[dict] = []
    taken = np.zeros(SIZE, bool)
    for one in drawn:
        plain = one | {"flags": {}, "group_id": None}
        made = parsed(plain)
        if labelme.degenerate(made):
            continue
        pixels = shape_mask(made, SIZE)
        if not (taken & pixels).any():
            apart.append(plain)
            taken |= pixels
    files = {f"b{number}": [one] for number, one in enumerate(apart)}
    write_folder(folder / "src", {"a": apart} | files)

    assert convert("cityscapes", folder / "src", folder / "out") == 0

    paths = sorted((folder / "out").rglob("*_gtFine_labelIds.png"))
    together, *alone = (read_label(path) for path in paths)
    assert len(alone) == len(apart)
    np.testing.assert_array_equal(together != 0, taken)
    np.testing.assert_array_equal(together, np.max(alone, axis=0))


@settings(max_examples=25, deadline=None)
@given(drawn=st.lists(shapes(), max_size=6))
def test_cityscapesscripts_draws_our_polygons_as_we_wrote_the_rasters(work: Path, drawn: list):
    """`createInstanceImage` too, where every instance is one polygon."""
    module = pytest.importorskip("cityscapesscripts.helpers.annotation")
    labels = pytest.importorskip("cityscapesscripts.preparation.json2labelImg")
    instances = pytest.importorskip("cityscapesscripts.preparation.json2instanceImg")
    folder = fresh(work)
    write_folder(folder / "src", {"a": drawn})
    assert convert("cityscapes", folder / "src", folder / "out") == 0
    official = module.Annotation()
    official.fromJsonFile(str(folder / "out" / f"{CITY}polygons.json"))

    for kind, encoding in {"labelIds": "ids", "labelTrainIds": "trainIds"}.items():
        redrawn = np.asarray(labels.createLabelImage(official, encoding))
        np.testing.assert_array_equal(redrawn, read_label(folder / "out" / f"{CITY}{kind}.png"))
    colour = np.asarray(labels.createLabelImage(official, "color"))
    np.testing.assert_array_equal(colour, read_raster(folder / "out" / f"{CITY}color.png"))
    if ("a.json", None, "group_instances") not in reasons(folder / "out", "warnings"):
        redrawn = np.asarray(instances.createInstanceImage(official, "ids"))
        np.testing.assert_array_equal(
            redrawn, read_label(folder / "out" / f"{CITY}instanceIds.png")
        )


LABELME_RASTERS = """
import json, sys
from labelme.utils import shape_to_mask
for points, kind in json.load(sys.stdin):
    print("".join("01"[int(v)] for v in shape_to_mask((40, 60), points, kind).ravel()))
"""


@pytest.mark.skipif(shutil.which("labelme") is None, reason="no labelme in PATH")
def test_rasters_equal_those_of_the_installed_labelme():
    rng = np.random.default_rng(0)
    counts = {"polygon": 7, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 4, "point": 1}
    rows = [
        (rng.uniform(-15, 75, (n, 2)).tolist(), kind)
        for kind, n in counts.items()
        for _ in range(50)
    ]
    interpreter = Path(shutil.which("labelme")).resolve().parent / "python"
    done = subprocess.run(
        [interpreter, "-c", LABELME_RASTERS],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=True,
    )

    for (points, kind), bits in zip(rows, done.stdout.split(), strict=True):
        made, _ = labelme.read_shape(shape("road", kind, points))
        expected = np.array(list(bits)).reshape(SIZE) == "1"
        np.testing.assert_array_equal(shape_mask(made, SIZE), expected)
