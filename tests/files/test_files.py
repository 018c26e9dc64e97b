import json

import numpy as np
import pytest
from PIL import Image

from perception import files
from perception.errors import PerceptionError


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "weights.bin"
    target.write_bytes(b"old")

    with pytest.raises(PerceptionError, match=r"weights\.bin: found cannot write: No space"):
        with files.atomic_open(target) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    assert [p.name for p in tmp_path.iterdir()] == ["weights.bin"]
    assert target.read_bytes() == b"old"


def test_json_has_no_nan_and_no_numpy(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": np.float64("nan"), "b": np.arange(2)})

    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": [0, 1]}


def test_pixels_come_back_as_they_were_written(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)

    files.write_image(tmp_path / "a.png", rgb)

    np.testing.assert_array_equal(files.read_image(tmp_path / "a.png"), rgb)
    assert files.image_size(tmp_path / "a.png") == (5, 7)


def test_a_palette_label_gives_indices_not_colours(tmp_path):
    label = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(label, "P")
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "p.png")

    np.testing.assert_array_equal(files.read_label(tmp_path / "p.png"), label)


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "empty file"), (b"no image", "unreadable header"), (None, "no such file")],
)
def test_what_is_no_image_is_named(tmp_path, content, found):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(PerceptionError, match=rf"x\.png: found .*{found}"):
        files.read_image(path)


def test_a_truncated_png_is_refused_instead_of_filled_with_grey(tmp_path):
    path = tmp_path / "cut.png"
    files.write_image(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-500])

    with pytest.raises(PerceptionError, match=r"cut\.png: found a truncated image"):
        files.read_image(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: 2001-13-45",
        "a: " + "9" * 5000,
        "a: !!int x",
        "a: !!float x",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: !!python/object:os.system x",
        "? [1]\n: 2",
    ],
)
def test_a_value_that_yaml_cannot_make_is_one_line(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)

    with pytest.raises(PerceptionError, match=r"a\.yaml: found .*, expected valid YAML") as caught:
        files.read_yaml(path)
    assert len(str(caught.value)) < 600


def test_a_number_of_thousands_of_digits_in_json_is_one_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" + "9" * 5000 + "]")

    with pytest.raises(PerceptionError, match=r"a\.json: found .*, expected valid JSON"):
        files.read_json(path)
