"""The whole path of a user on a few tiny streets: train, evaluate, predict, load."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import perception
from perception.cli import main
from perception.files import read_image
from perception.formats.kitti_object import read_labels

ROOT = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    base = tmp_path_factory.mktemp("user")
    streets, folder = base / "streets", base / "run"
    words = ["--frames", "5", "--val-frames", "2", "--size", "208x64", "--workers", "1"]
    assert main(["synthesize", str(streets), *words]) == 0
    code = main(
        [
            "train",
            f"data.sets.synthetic.root={streets}",
            f"run_dir={folder}",
            "steps=2",
            "encoder.width=0.35",
            "head.semantic.width=16",
            "augment=wide",
            "augment.size=[64,208]",
            "data.sets.synthetic.batch_size=2",
            "trainer.workers=0",
            "trainer.log_every=1",
            "trainer.threads=1",
        ]
    )
    assert code == 0
    return streets, folder


def test_training_ends_with_numbers_and_one_self_contained_page(run):
    _, folder = run
    values = json.loads((folder / "evaluation.json").read_text())
    page = (folder / "report.html").read_text()

    assert values["sets"]["synthetic"]["frames"] == 2
    assert 0 <= values["metrics"]["synthetic/semantic/mean_iou"] <= 1
    protocols = [p["name"] for p in values["sets"]["synthetic"]["protocols"]]
    assert protocols == ["kitti_road/perspective", "kitti_object/kitti_2019", "semantic/pixel"]
    assert "kitti_object/kitti_2019" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_the_data_of_a_training_stand_in_its_folder_and_on_its_page(run):
    _, folder = run
    values = json.loads((folder / "data.json").read_text())
    page = (folder / "report.html").read_text()

    train, val = values["parts"]
    assert (train["frames"], val["frames"], values["shared_frames"]) == (3, 2, {})
    assert sum(train["contents"]["semantic"]["counts"].values()) == 3 * 208 * 64
    assert train["contents"]["boxes"]["counts"]["car"] > 0
    assert "took no part in training" in page
    assert "pixels or objects" in page
    assert page.count("<h3>Best: ") == page.count("<h3>Worst: ") == 1
    assert "labelled pixels" in page


def test_evaluate_gives_the_numbers_of_training_again(run):
    _, folder = run
    first = json.loads((folder / "evaluation.json").read_text())["metrics"]

    assert main(["evaluate", f"run={folder}"]) == 0

    assert json.loads((folder / "evaluation.json").read_text())["metrics"] == first


def test_predict_writes_files_that_score_reads(run, tmp_path, capsys):
    streets, folder = run
    images = streets / "kitti_object" / "training" / "image_2"

    assert main(["predict", f"run={folder}", f"images={images}", f"out={tmp_path}"]) == 0

    keys = sorted(p.stem for p in images.iterdir())
    assert sorted(p.stem for p in (tmp_path / "overlays").iterdir()) == keys
    assert read_image(tmp_path / "overlays" / f"{keys[0]}.png").shape == (64, 208, 3)
    read_labels(tmp_path / "boxes" / f"{keys[0]}.txt")
    summary = json.loads((tmp_path / "json" / f"{keys[0]}.json").read_text())
    assert (summary["height"], summary["width"]) == (64, 208)
    assert sum(summary["semantic_share"].values()) == pytest.approx(1)


def test_one_predict_takes_files_and_folders(run, tmp_path, capsys):
    streets, folder = run
    images = streets / "kitti_object" / "training" / "image_2"
    single = next(images.iterdir())

    assert main(["predict", str(folder), str(single), str(images), f"out={tmp_path}"]) == 0

    assert "deprecated" not in capsys.readouterr().err
    assert (tmp_path / "overlays" / f"{single.stem}.png").is_file()
    assert len(list((tmp_path / "image_2" / "overlays").iterdir())) == len(list(images.iterdir()))


def test_the_old_words_work_and_say_so_once(run, tmp_path, capsys):
    streets, folder = run
    single = next((streets / "kitti_object" / "training" / "image_2").iterdir())

    assert main(["predict", f"images={single}", f"run={folder}", f"out={tmp_path}"]) == 0

    line = "perception: run= images= is deprecated; use: perception predict RUN IMAGES..."
    assert capsys.readouterr().err.count(line) == 1


def test_the_api_page_is_up_to_date_and_its_examples_run(run):
    streets, folder = run
    spec = importlib.util.spec_from_file_location("make_api_page", ROOT / "make_api_page.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    image = next((streets / "kitti_object" / "training" / "image_2").iterdir())

    assert made.PAGE.read_text() == made.page(), "run python scripts/make_api_page.py"
    for _, _, example in made.PARTS:
        exec(example, {"run": folder, "image": image})


def test_the_examples_of_the_python_page_run(run, tmp_path, monkeypatch):
    streets, folder = run
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((streets / "kitti_object" / "training" / "image_2").iterdir())[:2]:
        shutil.copy(path, images)
    monkeypatch.chdir(tmp_path)
    scope = {"run": folder, "folder": images, "street": next(images.iterdir())}

    page = (ROOT.parent / "docs" / "python.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, scope)

    assert [len(scope[name]) for name in ("several", "whole")] == [2, 2]
    assert (tmp_path / "out" / "json" / f"{scope['street'].stem}.json").is_file()


def test_three_lines_of_python_predict(run):
    streets, folder = run
    image = next((streets / "kitti_object" / "training" / "image_2").iterdir())

    model = perception.load(folder)
    prediction = model.predict(image)

    assert prediction.road.shape == (64, 208)
    assert prediction.road.dtype == np.float32
    assert set(np.unique(prediction.semantic.ids)) <= {
        c.id for c in prediction.semantic.scheme.trained
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["evaluate", "run=nowhere"], 1, "nowhere: found no checkpoint, expected best.pt or"),
        (["predict", "x"], 2, "found no images, expected RUN IMAGES..."),
        (["predict", "run=x"], 2, "found no images, expected RUN IMAGES..."),
        (["predict"], 2, "found no RUN, expected RUN IMAGES..."),
        (["evaluate"], 2, "found no RUN, expected RUN"),
        (["evaluate", "a", "b"], 2, "found 2 runs, expected RUN"),
        (["evaluate", "a", "run=b"], 2, "found a beside run="),
        (["evaluate", "nowhere", "--fast"], 2, "found --fast"),
        (["predict", "run=x", "images=none.png"], 1, "none.png: found no such file or folder"),
    ],
)
def test_wrong_words_are_one_line(words, code, message, capsys):
    assert main(words) == code

    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_checkpoint_of_another_architecture_names_its_keys(run, capsys):
    _, folder = run

    assert main(["evaluate", f"run={folder}", "encoder.width=0.5"]) == 1

    assert "last.pt: found" in capsys.readouterr().err


def test_other_settings_do_not_overwrite_the_record(run, tmp_path):
    _, folder = run
    before = (folder / "evaluation.json").read_bytes()
    page = (folder / "report.html").read_bytes()
    word = "head.boxes.nms_iou=0.4"

    assert main(["evaluate", str(folder), word]) == 0
    assert main(["evaluate", str(folder), word, f"out={tmp_path / 'other'}"]) == 0
    assert main(["evaluate", str(folder), word, f"out={tmp_path / 'other'}"]) == 1

    assert (folder / "evaluation.json").read_bytes() == before
    assert (folder / "report.html").read_bytes() == page
    for place in (folder / "evaluations" / "1", tmp_path / "other"):
        assert json.loads((place / "evaluation.json").read_text())["overrides"] == [word]
        assert word in (place / "report.html").read_text()


def test_the_report_says_whether_validation_frames_were_trained_on(run):
    _, folder = run

    assert (
        "2 validation frames that took no part in training" in (folder / "report.html").read_text()
    )
    assert main(["evaluate", str(folder), "data.sets.synthetic.train=val"]) == 0

    page = sorted((folder / "evaluations").iterdir())[-1] / "report.html"
    assert "2 of the 2 validation frames were trained on" in page.read_text()


def test_load_and_evaluate_use_weights_in_one_layout(run):
    from perception.runs.evaluate import open_run

    _, folder = run

    loaded, opened = perception.load(folder).network, open_run(folder).experiment.model
    for (name, a), b in zip(loaded.named_parameters(), opened.parameters(), strict=True):
        assert a.stride() == b.stride(), name
