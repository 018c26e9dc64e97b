"""The packaged data sets, merges and their tables."""

import json

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official

from perception.errors import PerceptionError
from perception.files import packaged, read_yaml, write_image
from perception.formats.frames import find_frames
from perception.formats.manifest import load_manifest, template_fields, template_regex
from perception.labels import load_map, load_scheme

NAMES = sorted(p.parent.name for p in packaged("datasets").glob("*/dataset.yaml"))
MERGES = sorted(p.stem for p in packaged("datasets", "merges").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_data_set_is_complete(name):
    manifest = load_manifest(name)

    assert manifest.name == name
    assert manifest.licence
    assert manifest.source
    known = {*template_fields(manifest.layout["image"]), *(["name"] if manifest.names else [])}
    assert set(template_fields(manifest.key)) <= known
    assert manifest.reader_module.read
    for split in manifest.splits.values():
        assert split.list is None or split.list.is_file() or split.list.parts[0] == "ImageSets"
    for road in manifest.road:
        assert road in manifest.scheme.by_name
    assert (manifest.path.parent / "README.md").is_file()


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_is_total_for_every_scheme_it_names(name):
    for source in read_yaml(packaged("datasets", "merges", f"{name}.yaml"))["map"]:
        merge = load_map(load_scheme(source), name)

        assert merge.table[: len(merge.source.trained)].max(initial=0) <= 255
        assert (merge.table[len(merge.source.trained) :] == 255).all()


def test_merged_counts_equal_counts_of_merged_labels_for_the_seven_categories():
    merge = load_map(load_scheme("cityscapes"), "cityscapes_categories")
    target, predicted = np.random.default_rng(0).integers(0, 19, (2, 2000)).astype(np.uint8)

    def confusion(t, p, classes):
        return np.bincount(t.astype(int) * classes + p, minlength=classes**2).reshape(classes, -1)

    np.testing.assert_array_equal(
        merge.merge_confusion(confusion(target, predicted, 19)),
        confusion(merge(target), merge(predicted), 7),
    )


def test_the_table_of_cityscapes_is_the_official_one():
    ours = load_scheme("cityscapes")

    assert len(ours.classes) == len(official) == 35
    assert (len(ours.names), len({c.category for c in ours.trained})) == (19, 7)
    for c, o in zip(ours.classes, official, strict=True):
        assert (c.name, c.id, c.train_id, c.color) == (o.name, o.id, o.trainId, o.color)
        assert (c.category, c.has_instances, c.ignore) == (
            o.category,
            o.hasInstances,
            o.ignoreInEval,
        )


def test_a_template_reads_what_it_writes():
    template = "gtFine/{part}/{city}/{city}_{sequence}_{frame}_labelIds.png"
    values = {"part": "train", "city": "aachen", "sequence": "000001", "frame": "000019"}

    match = template_regex(template).fullmatch(template.format(**values))

    assert match.groupdict() == values
    assert not template_regex(template).fullmatch(
        template.format(**values).replace("/aachen_", "/bonn_")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "layout: found nothing"),
        ("[1, 2]", "found list, expected a table"),
        ("{name: x, layout: {image: a}, key: k, splits: {}, colour: 3}", "found an unknown key"),
        ("{name: x, layout: {boxes: a}, key: k, splits: {}}", r"layout\.image: found nothing"),
        ("{name: x, layout: {image: a}, key: k, splits: {train: {prt: a}}}", r"splits\.train"),
        ("{name: x, layout: {image: a}, key: k, splits: {}, boxes: {car: [Car]}}", r"boxes\.car"),
        ("name: [", "valid YAML"),
    ],
)
def test_a_wrong_dataset_yaml_is_named_by_its_key(tmp_path, text, message):
    path = tmp_path / "dataset.yaml"
    path.write_text(text)

    with pytest.raises(PerceptionError, match=message):
        load_manifest(path)


def test_a_reader_that_cannot_be_imported_is_named(tmp_path):
    path = tmp_path / "dataset.yaml"
    path.write_text("{name: x, layout: {image: a}, key: k, splits: {all: {}}, reader: my.format}")

    with pytest.raises(PerceptionError, match=r"reader: found my\.format"):
        _ = load_manifest(path).reader_module


def test_boxes_of_voc_are_read_from_1_based_inclusive_corners(tmp_path):
    """A box from pixel 1 to pixel 10 is ten pixels wide and starts at the left edge."""
    write_image(tmp_path / "JPEGImages/a.jpg", np.zeros((20, 30, 3), np.uint8))
    write_image(tmp_path / "SegmentationClass/a.png", np.full((20, 30), 7, np.uint8))
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text(
        "<annotation><object><name>car</name><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>10</xmax>"
        "<ymax>12</ymax></bndbox></object></annotation>"
    )
    manifest = load_manifest("voc2012")
    listing = find_frames(manifest, tmp_path, "train", needed=("boxes",))

    frame = manifest.reader_module.read(listing.frames[0], manifest)

    assert listing.summary == "1 of 5717 frames"
    assert frame.boxes.xyxy.tolist() == [[0, 2, 10, 12]]
    assert frame.semantic.scheme.names[7] == "car"
    assert (len(manifest.boxes), len(manifest.scheme.names)) == (20, 21)


def test_a_data_set_can_share_the_label_table_of_another():
    assert load_manifest("kitti_semantic").scheme == load_scheme("cityscapes")


WHOLE = {
    "name": "x",
    "layout": {"image": "i/{frame}.png", "boxes": "b/{frame}.txt"},
    "key": "{frame}",
    "splits": {"all": {}},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": 3}, "boxes: found 3, expected a table"),
        ({"boxes": ["car"]}, r"boxes: found \['car'\], expected a table"),
        ({"optional": 5}, "optional: found 5, expected parts of the layout: image, boxes"),
        ({"optional": ["box"]}, "optional: found box, expected parts of the layout"),
        ({"layout": [1]}, r"layout: found \[1\], expected a table"),
        ({"layout": {"image": 3}}, r"layout\.image: found 3, expected a path template"),
        ({"layout": {"image": "{n"}}, r"layout\.image: found {n, expected fields like {frame}"),
        ({"layout": {"image": "{}.png"}}, r"layout\.image: found {}\.png, expected fields"),
        ({"layout": {"image": "{0}.png"}}, r"layout\.image: found \{0\}\.png, expected fields"),
        ({"layout": {"image": "{frame!r}.png"}}, r"layout\.image: found .*, expected fields"),
        ({"layout": {"image": "/a/{frame}.png"}}, "layout.image: .*expected a path below the root"),
        (
            {"layout": {"image": "i/{frame}.png", "boxes": "b/{other}.txt"}},
            r"layout\.boxes: found {other}, expected a field of the image's path: {frame}, {part}",
        ),
        ({"key": "{other}"}, "key: found {other}, expected a field of the image's path"),
        ({"key": "{"}, "key: found {, expected fields like {frame}"),
        ({"key": ""}, "key: found nothing"),
        ({"key": ["a"]}, r"key: found \['a'\], expected a text"),
        ({"splits": 5}, "splits: found 5, expected a table"),
        ({"splits": {}}, "splits: found nothing, expected at least one"),
        ({"splits": {"all": {"frames": "x"}}}, r"splits\.all\.frames: found 'x'"),
        ({"splits": {"all": {"labelled": 5}}}, r"splits\.all\.labelled: found 5"),
        ({"targets": 3}, "targets: found 3, expected a table"),
        ({"names": 5}, "names: found 5, expected a table"),
        ({"pseudo": ["x"]}, "pseudo: found .*, expected a table"),
        ({"extra": 5}, "extra: found 5, expected a table"),
        ({"name": ["x"]}, "name: found .*, expected a text"),
    ],
)
def test_a_value_of_another_kind_in_a_dataset_yaml_is_named(tmp_path, change, message):
    path = tmp_path / "dataset.yaml"
    path.write_text(json.dumps(WHOLE | change))

    with pytest.raises(PerceptionError, match=message):
        load_manifest(path)


@pytest.mark.parametrize("reader", ["this", "json", "nowhere", ".x", ""])
def test_a_reader_that_cannot_read_is_named(tmp_path, reader):
    path = tmp_path / "dataset.yaml"
    path.write_text(json.dumps(WHOLE | {"reader": reader}))

    with pytest.raises(PerceptionError, match=r"dataset\.yaml: reader: found "):
        _ = load_manifest(path).reader_module
