"""Options of the trainer that change how a run is carried out, a few steps each."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from perception.cli import main
from perception.experiments import checkpoint
from perception.training.logs import read_log
from tests.conftest import TINY

ROAD = ("head/boxes=none", "head/semantic=none", "data.sets.synthetic.tasks=[road]", "steps=2")


@pytest.fixture
def road(streets, tmp_path):
    """Overrides of a run that trains road alone; `run` names its folder."""
    common = [w for w in TINY if not w.startswith(("head.", "steps="))]

    def make(*more: str, run: str = "run") -> list[str]:
        places = (f"data.sets.synthetic.root={streets}", f"run_dir={tmp_path / run}")
        return [*common, *ROAD, *places, *more]

    return make


@pytest.fixture
def wandb(monkeypatch):
    """Stands in for the package: what it is told is kept."""
    told = SimpleNamespace(options={}, rows=[], finished=False)
    session = SimpleNamespace(
        log=lambda values, step: told.rows.append((step, values)),
        finish=lambda: setattr(told, "finished", True),
    )
    module = ModuleType("wandb")
    module.init = lambda **options: (told.options.update(options), session)[1]
    module.Image = lambda image, caption: (caption, image.shape)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return told


def test_wandb_gets_curves_overlays_and_the_configuration(road, wandb):
    more = ("logger=wandb", "logger.overlays=1", "trainer.evaluate_every=2", "trainer.workers=0")
    assert main(["train", *road(*more)]) == 0

    assert wandb.options["mode"] == "offline"
    assert wandb.options["config"]["steps"] == 2
    names = {name for _, values in wandb.rows for name in values}
    assert {"train/loss", "train/lr", "evaluation/synthetic/road/max_f1", "overlays"} <= names
    pictures = [values["overlays"] for _, values in wandb.rows if "overlays" in values]
    assert [(caption[:10], size[2]) for caption, size in pictures[0]] == [("synthetic/", 3)]
    assert [step for step, _ in wandb.rows] == sorted(step for step, _ in wandb.rows)
    assert wandb.finished


def test_wandb_that_is_not_installed_is_one_line(road, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)

    assert main(["train", *road("logger=wandb")]) == 1

    assert "logger=wandb: found wandb is not installed" in capsys.readouterr().err


def test_accumulation_and_the_plateau_schedule_train_to_the_end(road, tmp_path):
    assert main(["train", *road("trainer.accumulate=2", "schedule=plateau")]) == 0

    assert [row["step"] for row in read_log(tmp_path / "run" / "train.csv")] == [1, 2]
    assert checkpoint.load(tmp_path / "run" / "last.pt")["schedule"]["smoothed"] > 0


def test_learned_weights_are_trained_and_kept(road, tmp_path):
    assert main(["train", *road("balance=uncertainty")]) == 0

    learned = checkpoint.load(tmp_path / "run" / "last.pt")["balance"]["log_variance.road"]
    assert learned.abs() > 0


def test_a_sweep_trains_every_combination_in_a_folder_of_its_own(road, tmp_path):
    words = [w for w in road("steps=1") if not w.startswith(("run_dir=", "steps=2"))]
    sweep = f"hydra.sweep.dir={tmp_path / 'sweep'}"

    assert main(["train", "--multirun", *words, "seed=0,1", sweep]) == 0

    first, second = (checkpoint.load(tmp_path / "sweep" / n / "last.pt") for n in "01")
    name = next(iter(first["weights"]))
    assert not torch.equal(first["weights"][name], second["weights"][name])


@pytest.mark.slow
def test_a_compiled_model_trains_and_stores_the_same_keys(road, tmp_path):
    assert main(["train", *road("trainer.compile=true", run="fast")]) == 0
    assert main(["train", *road(run="plain")]) == 0

    fast, plain = (checkpoint.load(tmp_path / n / "last.pt")["weights"] for n in ("fast", "plain"))
    assert list(fast) == list(plain)


@pytest.mark.slow
def test_two_processes_train_like_one(road, tmp_path):
    """Their halves of the batch, and the mean of their gradients, are what one process has."""
    same = ("optimizer=sgd", "encoder.frozen_batch_norm=true", "steps=3", "trainer.clip_norm=1.0")
    words = [w for w in road(*same, run="two") if w != "steps=2"]
    ddp = ("trainer.strategy=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    ended = subprocess.run(
        [sys.executable, "-m", "perception", "train", *words, *ddp],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert main(["train", *[w for w in road(*same, run="one") if w != "steps=2"]]) == 0

    one, two = (checkpoint.load(tmp_path / n / "last.pt")["weights"] for n in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
