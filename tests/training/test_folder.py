"""Whose folder it is: one run, one process, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perception.cli import main
from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.training.folder import LOCK, claim_new, lock
from perception.training.logs import read_log
from perception.training.loop import train

HOLD = """
import sys
from pathlib import Path
from perception.training.folder import lock
claim = lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that uses the folder `held`."""
    folder = tmp_path / "held"
    folder.mkdir()
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield folder, process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_two_runs_of_one_second_get_two_folders(tmp_path):
    name = tmp_path / "2026-01-31_12-00-00"

    claims = [claim_new(name, default_name=True) for _ in range(3)]

    assert [c.folder.name for c in claims] == [name.name, f"{name.name}-1", f"{name.name}-2"]


def test_a_folder_with_a_run_is_refused_and_stays_as_it_was(tiny):
    folder = train(tiny("steps=1"))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    with pytest.raises(PerceptionError, match=r"found a run .* resume=.* overwrite=true"):
        train(tiny("steps=1", "seed=2", "optimizer.lr=0.5"))

    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_overwrite_leaves_nothing_of_the_old_run_and_keeps_other_files(tiny):
    folder = train(tiny("steps=2", "trainer.evaluate_every=1"))
    assert (folder / "best.pt").exists()
    (folder / "notes.txt").write_text("mine")

    train(tiny("steps=1", "overwrite=true"))

    assert not (folder / "best.pt").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert [row["step"] for row in read_log(folder / "train.csv")] == [1]
    assert checkpoint.load(folder / "last.pt")["step"] == 1


def test_a_run_that_fails_to_start_over_another_leaves_that_one(tiny):
    folder = train(tiny("steps=1"))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    with pytest.raises(PerceptionError):
        train(tiny("overwrite=true", "encoder.weights=nothing.pth"))

    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_run_that_trained_nothing_leaves_no_folder(tiny, streets, tmp_path):
    damaged = shutil.copytree(streets, tmp_path / "damaged")
    for path in damaged.glob("cityscapes/leftImg8bit/train/*/*.png"):
        path.unlink()
        path.write_bytes(b"no picture")

    with pytest.raises(PerceptionError, match=r"no picture|image"):
        train(tiny(f"data.sets.synthetic.root={damaged}"))
    with pytest.raises(PerceptionError, match="nothing"):
        train(tiny("encoder.weights=nothing.pth"))

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [(), ("overwrite=true",)])
def test_a_folder_in_use_by_another_process_is_refused(words, holder, more, capsys):
    _, process = holder

    assert main(["train", *words(*more, run="held")]) == 1

    assert f"in use by process {process.pid} on " in capsys.readouterr().err


def test_the_lock_of_a_process_that_was_killed_is_taken_over(holder):
    folder, process = holder
    with pytest.raises(PerceptionError, match="in use by process"):
        lock(folder)

    process.kill()
    process.wait()

    claim = lock(folder)
    assert claim.file is not None
    claim.release()
    assert not (folder / LOCK).exists()


def test_resuming_elsewhere_is_refused(tiny, tmp_path, capsys):
    folder = train(tiny("steps=1"))

    assert main(["train", f"resume={folder}", f"run_dir={tmp_path / 'other'}"]) == 2

    assert "expected the run's own folder" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_run_without_its_checkpoint_does_not_begin_again_in_silence(tiny, capsys):
    folder = Path(train(tiny("steps=1")))
    (folder / "last.pt").unlink()
    log = (folder / "train.csv").read_text()

    assert main(["train", f"resume={folder}", "steps=2"]) == 1

    assert f"{folder / 'last.pt'}: found no such file" in capsys.readouterr().err
    assert (folder / "train.csv").read_text() == log
