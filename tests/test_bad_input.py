"""Wrong files and settings, through the command line: one line that names them, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from perception.cli import main
from perception.experiments import checkpoint
from perception.files import read_label, write_image
from perception.models.encoders import MobileNetV2
from perception.training.logs import read_log
from tests.conftest import TINY
from tests.evaluation import cases

ALONE = ("head/boxes=none", "data.sets.synthetic.tasks=[road,semantic]")  # a cheaper network
CHEAP = [w for w in TINY if not w.startswith("head.boxes.")]


@pytest.fixture
def damaged(streets, tmp_path) -> Path:
    """A copy of the streets whose files may be changed."""
    return shutil.copytree(streets, tmp_path / "damaged")


@pytest.fixture(scope="module")
def trained(streets, tmp_path_factory) -> Path:
    """A run of one step on good data."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    more = (*ALONE, "steps=1", f"data.sets.synthetic.root={streets}", f"run_dir={folder}")
    assert main(["train", *CHEAP, *more]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


def refused(capsys, words, code=1) -> str:
    """The one line that a command prints on stderr, after it ended with `code`."""
    capsys.readouterr()
    assert main([str(w) for w in words]) == code
    line = capsys.readouterr().err
    assert line.startswith("perception: "), line
    assert len(line.splitlines()) == 1, line
    return line


def cut_image(root: Path) -> str:
    """Cuts every picture of the training part in half."""
    for path in root.glob("cityscapes/leftImg8bit/train/*/*.png"):
        _replace(path, path.read_bytes()[: path.stat().st_size // 2])
    return "_leftImg8bit.png: found a truncated image, expected a whole PNG or JPEG image"


def crop_label(root: Path) -> str:
    """Takes a row off every label image."""
    for path in root.glob("cityscapes/gtFine/train/*/*_labelIds.png"):
        ids = read_label(path)
        path.unlink()
        write_image(path, ids[1:].astype(np.uint8))
    return "_gtFine_labelIds.png: found 208x63 pixels, expected the size of its image, 208x64"


def drop_column(root: Path) -> str:
    """Leaves 14 columns in every object label."""
    for path in root.glob("kitti_object/training/label_2/*.txt"):
        _replace(path, b"Car 0 0 -10 1 1 9 9 1 1 1 1 1 1\n")
    return ".txt, line 1: found 14 "


def _replace(path: Path, content: bytes) -> None:
    """Writes a file of its own: the streets link one picture from several folders."""
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", [cut_image, crop_label, drop_column])
def test_a_damaged_file_stops_training_and_is_named(words, damaged, damage, workers, capsys):
    message = damage(damaged)
    more = (f"data.sets.synthetic.root={damaged}", f"trainer.workers={workers}")

    line = refused(capsys, ["train", *words(*more)])

    assert message in line
    assert str(damaged) in line


def test_a_run_that_damage_stops_keeps_its_checkpoint_and_goes_on(run, streets, damaged, capsys):
    cut_image(damaged)
    before = (run / "last.pt").read_bytes()
    resume = ["train", f"resume={run}", "steps=2"]

    line = refused(capsys, [*resume, f"data.sets.synthetic.root={damaged}"])

    assert "a truncated image" in line
    assert (run / "last.pt").read_bytes() == before
    assert main([*resume, f"data.sets.synthetic.root={streets}"]) == 0
    assert [row["step"] for row in read_log(run / "train.csv")] == [1, 2]


def test_a_full_disk_leaves_the_checkpoint_before(run, monkeypatch, capsys):
    before = (run / "last.pt").read_bytes()
    sync = os.fsync

    def full(handle: int) -> None:
        if "last.pt" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    line = refused(capsys, ["train", f"resume={run}", "steps=2"])

    assert f"{run / 'last.pt'}: found cannot write: No space left on device" in line
    assert (run / "last.pt").read_bytes() == before
    assert not list(run.glob(".last.pt*"))
    monkeypatch.undo()
    assert main(["train", f"resume={run}", "steps=2"]) == 0
    assert checkpoint.load(run / "last.pt")["step"] == 2


def test_a_folder_that_cannot_be_written_is_named(words, tmp_path, capsys):
    (tmp_path / "file").write_text("")

    line = refused(capsys, ["train", *words(run="file/run")])

    assert f"{tmp_path / 'file' / 'run' / 'config.yaml'}: found cannot write: " in line


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        (
            "data.sets.synthetic.boxes=[car,tram]",
            1,
            "synthetic/dataset.yaml: boxes: found no class "
            "tram, expected one of car, pedestrian, cyclist",
        ),
        ("+data.sets.synthetic.merge=nothing", 1, "merges/nothing.yaml: found no such file"),
        (
            "data.sets.synthetic.batch_sizes=2",
            2,
            "synthetic.batch_sizes: found an unknown "
            "configuration key, expected data.sets.synthetic.batch_size",
        ),
        ("data.sets.synthetic.merge=two", 1, "merges/two.yaml: found no such file"),
        ("seed=100000000000", 1, "seed: found 100000000000, expected a whole number up to"),
        ("data.sets.synthetic.root=nowhere", 1, "nowhere"),
        ("data.sets.synthetic.batch_size=two", 1, "data.sets.synthetic.batch_size: found two"),
        ("trainer.log_every=0", 1, "trainer.log_every: found 0, expected a whole number from 1"),
        ("steps=1.5", 1, "steps: found 1.5, expected a whole number from 1"),
        ("optimizer.lr=fast", 1, "optimizer.lr: found fast, expected a number from 0"),
        ("+encoder.depth=5", 2, "encoder.depth: found an unknown configuration key"),
        ("encoder.output_stride=7", 1, "encoder.output_stride: found 7"),
        ("trainer.accelerator=gpus", 1, "trainer: found "),
        ("trainer.precision=8", 1, "trainer.precision: found 8, expected one of auto, "),
        ("initialize=nothing.pt", 1, "nothing.pt: found no such file"),
        ("initialize=nothing.safetensors", 1, "nothing.safetensors: found no such file"),
        ("encoder.weights=nothing.pth", 1, "nothing.pth: found no such file"),
    ],
)
def test_a_wrong_setting_is_named(words, override, code, message, capsys):
    line = refused(capsys, ["train", *words(override)], code)

    assert message in line


def test_weights_of_another_encoder_are_named_in_one_line(words, tmp_path, capsys):
    path = tmp_path / "wide.safetensors"
    save_file(MobileNetV2(width=0.5, output_stride=32).state_dict(), path)

    line = refused(capsys, ["train", *words(f"encoder.weights={path}")])

    assert f"{path}: found " in line
    assert "other shape" in line


def test_a_checkpoint_of_another_architecture_is_named(run, streets, tmp_path, capsys):
    places = (f"data.sets.synthetic.root={streets}", f"run_dir={tmp_path / 'next'}")
    wider = [*CHEAP, *ALONE, *places]
    before = (run / "last.pt").read_bytes()

    for name in ("last.pt", "model.safetensors"):
        line = refused(capsys, ["train", *wider, "encoder.width=0.5", f"initialize={run / name}"])
        assert f"{run / name}: found" in line
        assert "instead of" in line
    line = refused(capsys, ["train", f"resume={run}", "steps=2", "encoder.width=0.5"])

    assert f"{run / 'last.pt'}: found" in line
    assert (run / "last.pt").read_bytes() == before


def test_another_choice_of_a_group_is_refused_for_a_stored_run(run, capsys):
    line = refused(capsys, ["train", f"resume={run}", "optimizer=sgd"], 2)

    assert "optimizer=sgd: a stored run's optimizer cannot be replaced. Set single keys" in line


def test_resuming_what_is_no_run_is_named(tmp_path, capsys):
    line = refused(capsys, ["train", f"resume={tmp_path}"])

    assert f"{tmp_path / 'config.yaml'}: found no such file, expected the folder of a run" in line


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_device_that_is_not_there_is_named(verb, tmp_path, capsys):
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    words = [verb, f"run={tmp_path}", "device=abacus"]
    if verb == "predict":
        words.append(f"images={tmp_path}")

    assert "device: found abacus" in refused(capsys, words)


def test_a_missing_calibration_is_named_by_score(tmp_path, capsys):
    case = cases.bev(tmp_path)
    case.files["calib"].unlink()
    score = ["score", case.name, "--gt", case.target, "--pred", case.predicted]

    line = refused(capsys, [*score, "--calib", tmp_path / "calib"])

    assert f"{tmp_path / 'calib'}: uu_road_000000: found neither" in line


def test_a_calibration_without_a_matrix_is_named(tmp_path, capsys):
    case = cases.bev(tmp_path)
    case.files["calib"].write_text("P2: 40 0 32 0 0 40 8 0 0 0 1 0\n")
    score = ["score", case.name, "--gt", case.target, "--pred", case.predicted]

    line = refused(capsys, [*score, "--calib", tmp_path / "calib"])

    assert f"{case.files['calib']}: R0_rect: no such matrix (the file has" in line
