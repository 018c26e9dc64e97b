"""What a resumed run follows, what it refuses, and what is kept when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from perception.cli import main
from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.config import read_config
from perception.training import update
from perception.training.logs import CsvLogger, read_log
from perception.training.loop import keep_best, resume_config, start, train
from perception.training.stopping import exhausted


def test_a_learning_rate_given_on_resume_is_used(tiny):
    folder = train(tiny("steps=2", "schedule=constant"))

    train(resume_config(folder, ["steps=3", "optimizer.lr=0.25", "optimizer.weight_decay=0.125"]))

    assert read_log(folder / "train.csv")[-1]["lr"] == 0.25
    groups = checkpoint.load(folder / "last.pt")["optimizer"]["param_groups"]
    assert {g["weight_decay"] for g in groups} == {0.0, 0.125}


def test_another_optimiser_is_refused_on_resume(tiny, capsys):
    folder = train(tiny("steps=1"))

    assert main(["train", f"resume={folder}", "steps=2", "optimizer._target_=torch.optim.Adam"])

    assert "last.pt: found the moments of torch.optim.AdamW" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["initialize=other.pt", "encoder.weights=imagenet"])
def test_weights_from_elsewhere_are_refused_on_resume(tiny, word, capsys):
    folder = train(tiny("steps=1"))

    assert main(["train", f"resume={folder}", "steps=2", word]) == 2

    assert "expected no weights from elsewhere" in capsys.readouterr().err


def test_resuming_needs_no_file_that_the_run_started_from(tiny, tmp_path):
    first = train(tiny("steps=1", run="first"))
    weights = first / "model.safetensors"
    second = train(tiny("steps=1", f"initialize={weights}", run="second"))
    weights.unlink()

    train(resume_config(second, ["steps=2"]))

    assert checkpoint.load(second / "last.pt")["step"] == 2


def test_a_finished_run_says_so_and_refuses_other_settings(tiny, capsys):
    folder = train(tiny("steps=1"))
    stored = (folder / "config.yaml").read_text()

    assert main(["train", f"resume={folder}", "optimizer.lr=0.5"]) == 1
    assert "found a finished run (step 1 of 1) and other settings (optimizer.lr)" in (
        capsys.readouterr().err
    )
    assert (folder / "config.yaml").read_text() == stored

    assert main(["train", f"resume={folder}"]) == 0
    assert "nothing is left to train" in capsys.readouterr().out


def test_the_file_of_a_checkpoint_resumes_its_run(tiny):
    folder = train(tiny("steps=1"))

    assert main(["train", f"resume={folder / 'last.pt'}", "steps=2"]) == 0

    assert read_config(folder).resume == str(folder)


@pytest.mark.parametrize("missing", ["step", "optimizer", "weights", "schedule"])
def test_a_checkpoint_that_lacks_a_part_is_one_line(tiny, missing, capsys):
    folder = train(tiny("steps=1"))
    state = checkpoint.load(folder / "last.pt")
    del state[missing]
    checkpoint.save(folder / "last.pt", state)

    code = main(["train", f"resume={folder}", "steps=2"])

    error = capsys.readouterr().err
    if missing == "schedule":  # only a plateau schedule has a state
        assert code == 0
    else:
        assert code == 1
        assert f"{folder / 'last.pt'}: found '{missing}'" in error


def test_the_log_is_whole_at_every_moment_of_a_resume(tmp_path, monkeypatch):
    log = tmp_path / "train.csv"
    log.write_text("step,loss\n1,0.5\n2,0.25\n3,0.125\n")
    seen = []
    replace = os.replace

    def watched(*args, **options):
        seen.append(log.read_text())
        replace(*args, **options)

    monkeypatch.setattr(os, "replace", watched)
    CsvLogger().start(tmp_path, {}, 2)

    assert log.read_text().splitlines() == ["step,loss", "1,0.5", "2,0.25"]
    assert all(text.count("\n") == 4 for text in seen)


def test_a_log_with_damaged_bytes_is_resumed(tmp_path):
    log = tmp_path / "train.csv"
    log.write_bytes(b"step,loss\n1,0.5\n\xff\xfe,\x00\n2,0.25\n" + b"9" * 200_000 + b"\n")

    CsvLogger().start(tmp_path, {}, 2)

    assert [row["step"] for row in read_log(log)] == [1, 2]


def test_a_metric_to_monitor_is_checked_before_the_first_step(tiny, tmp_path):
    more = ("trainer.evaluate_every=2", "trainer.monitor=semantic/mean_iou")

    with pytest.raises(PerceptionError, match=r"trainer\.monitor: .* synthetic/semantic/mean_iou"):
        train(tiny(*more))

    assert not (tmp_path / "run").exists()


def test_a_score_that_is_no_number_is_never_the_best(tiny):
    run = start(tiny("trainer.monitor=synthetic/road/max_f1"))
    for run.step, value in enumerate([float("nan"), 0.5, 0.9, float("nan"), 0.1], 1):
        keep_best(run, {"synthetic/road/max_f1": value})

    assert (run.best["step"], run.best["value"]) == (3, 0.9)
    assert checkpoint.load(run.folder / "best.pt")["step"] == 3
    run.claim.release()


@pytest.mark.parametrize("broken", [RuntimeError("a bug"), PerceptionError("x.png", "damaged")])
def test_what_was_trained_is_saved_before_an_error_leaves(tiny, monkeypatch, broken):
    """The step that fails has changed batch statistics already; they are put back."""
    whole = train(tiny(run="whole"))
    with monkeypatch.context() as patched:
        check = update.check_finite

        def fail_in_the_third(losses, loss, batches, step):
            check(losses, loss, batches, step)
            if step == 2:
                raise broken

        patched.setattr(update, "check_finite", fail_in_the_third)
        with pytest.raises(type(broken)):
            train(tiny(run="parts"))
    folder = whole.parent / "parts"
    assert checkpoint.load(folder / "last.pt")["step"] == 2

    train(resume_config(folder))

    a, b = (checkpoint.load(f / "last.pt")["weights"] for f in (whole, folder))
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_patience_is_counted_in_evaluations_from_the_best():
    best = {"step": 40}

    assert not exhausted(best, 50, 10, 2)
    assert exhausted(best, 60, 10, 2)
    assert not exhausted(best, 60, 10, None)
    assert not exhausted({}, 60, 10, 2)


def test_a_run_that_no_longer_improves_ends_and_stays_ended(tiny):
    more = ("steps=9", "trainer.evaluate_every=1", "trainer.patience=2", "optimizer.lr=0")
    folder = train(tiny(*more, "encoder.frozen_batch_norm=true", "optimizer.weight_decay=0"))

    state = checkpoint.load(folder / "last.pt")
    assert state["step"] == state["best"]["step"] + 2 < 9
    assert (folder / "model.safetensors").exists()
    train(resume_config(folder))
    assert checkpoint.load(folder / "last.pt")["step"] == state["step"]


def test_sigterm_to_the_whole_process_group_saves_and_ends_cleanly(words, tmp_path):
    process = _training(words("steps=1000", "trainer.workers=2"))
    _wait_for_steps(tmp_path / "run" / "train.csv", 2)

    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)

    assert process.returncode == 130, error
    assert error.startswith("Interrupted; the state is saved.")
    assert "Traceback" not in error
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] >= 2


def test_a_loader_that_is_killed_is_one_line_after_the_state_was_saved(words, tmp_path):
    process = _training(words("steps=1000", "trainer.workers=1", "trainer.checkpoint_every=999"))
    _wait_for_steps(tmp_path / "run" / "train.csv", 2)

    for child in _children(process.pid):
        os.kill(child, signal.SIGKILL)
    _, error = process.communicate(timeout=60)

    assert process.returncode == 1, error
    assert error.startswith("perception: synthetic: a loader process: killed")
    assert len(error.splitlines()) == 1, error
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] >= 2


def _training(words):
    return subprocess.Popen(
        [sys.executable, "-m", "perception", "train", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_for_steps(log, steps):
    ends = time.monotonic() + 90
    while len(read_log(log)) < steps:
        assert time.monotonic() < ends
        time.sleep(0.05)


def _children(process):
    children = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in children.split()]
