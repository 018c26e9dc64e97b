"""Labels are checked against the upright picture where they are read."""

import numpy as np
import pytest
from PIL import Image

from perception.errors import PerceptionError
from perception.formats.frames import FrameFiles
from perception.formats.manifest import load_manifest
from perception.formats.read import read

OBJECT = (
    "<object><name>car</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>20</ymax>"
    "</bndbox></object>"
)


def turned(folder, orientation=6):
    """A picture stored 96 wide and 64 high."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(folder / "a.jpg", exif=exif)
    return folder / "a.jpg"


def frame(image, manifest="voc2012", **labels):
    return read(FrameFiles("a", image, labels), load_manifest(manifest))


def voc(folder, width, height):
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    (folder / "a.xml").write_text(f"<annotation>{size}{OBJECT}</annotation>")
    return folder / "a.xml"


def test_boxes_drawn_on_the_upright_picture_are_read(tmp_path):
    found = frame(turned(tmp_path), boxes=voc(tmp_path, 64, 96))

    assert found.image.size == found.image.read().shape[:2] == (96, 64)
    assert found.boxes.xyxy.tolist() == [[1, 2, 9, 20]]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_picture_as_stored_are_refused_with_the_cause(tmp_path, orientation):
    with pytest.raises(PerceptionError, match=r"a\.xml: found 96x64 .* 64x96\. .*EXIF orientation"):
        frame(turned(tmp_path, orientation), boxes=voc(tmp_path, 96, 64))


def test_boxes_of_a_picture_of_another_size_are_refused(tmp_path):
    with pytest.raises(PerceptionError, match=r"a\.xml: found 128x192 pixels, expected .* 64x96"):
        frame(turned(tmp_path), boxes=voc(tmp_path, 128, 192))


def test_a_label_image_fits_the_upright_picture(tmp_path):
    image = turned(tmp_path)
    for height, width in ((96, 64), (64, 96)):
        Image.fromarray(np.zeros((height, width), np.uint8)).save(tmp_path / f"{height}.png")

    assert frame(image, semantic=tmp_path / "96.png").semantic.ids.shape == (96, 64)
    with pytest.raises(PerceptionError, match=r"64\.png: found 96x64 .*EXIF orientation"):
        frame(image, semantic=tmp_path / "64.png")


@pytest.mark.parametrize("corner", ["9999999999", "-1e7"])
def test_a_corner_that_no_picture_reaches_is_named(tmp_path, corner):
    line = "Car 0 0 0 {} 20 30 40 -1 -1 -1 -1000 -1000 -1000 -10\n"
    path = tmp_path / "a.txt"
    path.write_text(line.format("10") + line.format(corner))

    with pytest.raises(PerceptionError, match=r"a\.txt, box 2: found corners .* at most 1,000,000"):
        frame(turned(tmp_path), "kitti_object", boxes=path)
