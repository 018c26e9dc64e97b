"""Two processes on this machine (gloo): they agree on the loss and on when to stop."""

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
from perception.experiments import checkpoint
from perception.training.logs import read_log
from tests.training.test_options import road as road  # a fixture

DDP = ("trainer.strategy=ddp", "trainer.devices=2", "encoder.frozen_batch_norm=true")
pytestmark = pytest.mark.slow


def training(words):
    command = [sys.executable, "-m", "perception", "train", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_the_loss_of_two_processes_is_that_of_one(road, tmp_path):
    same = ("optimizer=sgd", "schedule=plateau", "schedule.patience=1")
    process = training(road(*same, *DDP, run="two"))
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert main(["train", *road(*same, "encoder.frozen_batch_norm=true", run="one")]) == 0

    one, two = (read_log(tmp_path / n / "train.csv") for n in ("one", "two"))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-3)
    assert [r["lr"] for r in two] == pytest.approx([r["lr"] for r in one])


def test_a_signal_to_one_process_stops_both_with_a_checkpoint(words, tmp_path):
    process = training(words("steps=1000", "trainer.checkpoint_every=999", *DDP))
    log = tmp_path / "run" / "train.csv"
    ends = time.monotonic() + 200
    while len(read_log(log)) < 2:
        assert time.monotonic() < ends
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    other = [c for c in map(int, children) if b"perception" in _command(c)]

    os.kill(other[0], signal.SIGTERM)
    _, error = process.communicate(timeout=100)

    assert process.returncode == 130, error
    assert error.splitlines()[-1].startswith("Interrupted; the state is saved.")
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    assert state["step"] >= 2
    assert all(torch.isfinite(v).all() for v in state["weights"].values())


def _command(process):
    return Path(f"/proc/{process}/cmdline").read_bytes()
