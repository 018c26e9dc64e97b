"""The page of augmented samples."""

import numpy as np
import pytest

from perception.cli import main
from perception.data.augment import Augment
from perception.data.build import build_sets
from perception.runs.look import draw_samples, look_page, sample_panels
from tests.data.folders import camvid


@pytest.fixture
def sets(tmp_path):
    root = camvid(tmp_path)
    options = {
        "root": str(root),
        "train": str(root / "all.txt"),
        "val": None,
        "tasks": ["semantic", "road"],
        "batch_size": 2,
    }
    return build_sets({"sets": {"camvid": options}}, Augment((16, 24), view={}))


def test_the_samples_are_those_that_training_sees(sets):
    stream = sets[0].stream(seed=3, workers=0)
    seen = np.concatenate([stream.batch(t).image.numpy() for t in (0, 1)])

    samples = draw_samples(sets[0], 3, seed=3)

    for sample, image in zip(samples, seen, strict=False):
        np.testing.assert_array_equal(sample.image.transpose(2, 0, 1), image)


def test_every_task_has_a_panel_and_narrow_samples_are_enlarged(sets):
    (sample,) = draw_samples(sets[0], 1, seed=0)

    panels = sample_panels(sample, sets[0])

    assert [p.caption for p in panels] == ["image", "semantic", "road"]
    assert {p.pixels.shape for p in panels} == {(16 * 30, 24 * 30, 3)}


def test_the_page_names_every_class_and_sample(sets):
    page = look_page(sets, samples=2, seed=0, command="perception look data=camvid")

    for word in (*sets[0].train.scheme.names, "ignored", "perception look data=camvid"):
        assert word in page
    for sample in draw_samples(sets[0], 2, seed=0):
        assert sample.key in page
    assert page.count("<img ") == 6


def test_the_verb_writes_the_page(tmp_path, capsys):
    root = camvid(tmp_path)
    out = tmp_path / "page.html"

    own = {"root": root, "train": root / "all.txt", "val": "null"}
    words = [f"data.sets.camvid.{name}={value}" for name, value in own.items()]

    code = main(["look", "data=camvid", "samples=2", f"out={out}", *words])

    assert (code, capsys.readouterr().out) == (0, f"{out}\n")
    assert "pavement" in out.read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["data=camvid", "samples=none"], 2, "samples: found none"),
        (["data=camvib"], 2, "camvid"),
        (["data=camvid", "data.sets.camvid.root=/nowhere"], 1, "/nowhere: found no such folder"),
        (["data=camvid", "augment.view.flipp=1"], 2, "augment.view.flip"),
    ],
)
def test_wrong_use_is_one_line(words, code, message, capsys):
    assert main(["look", *words]) == code

    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
