"""The length of a run is fitted to the machine before its first step, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from perception.errors import UsageError
from perception.experiments import checkpoint
from perception.experiments.config import compose_config, read_config
from perception.training import pace
from perception.training.loop import resume_config, train


@pytest.mark.parametrize(
    ("minutes", "seconds", "most", "steps"),
    [
        (7.5, 0.35, 780, 780),  # 1,285 would fit
        (7.5, 0.78, 780, 576),
        (1, 0.5, 120, 120),  # exactly
        (1, 100.0, 780, 1),  # never none
    ],
)
def test_steps_that_fit_are_at_least_one_and_at_most_those_asked_for(minutes, seconds, most, steps):
    assert pace.steps_within(minutes, seconds, most) == steps


def weights(folder):
    return checkpoint.load(folder / "last.pt")["weights"]


def equal(a, b):
    same = (torch.allclose(a[name], b[name], 0.0, 0.0, equal_nan=True) for name in a)
    return a.keys() == b.keys() and all(same)


@pytest.mark.parametrize("balance", ["fixed", "gradnorm", "dwa"])
def test_a_measured_run_with_time_for_all_steps_is_the_run_without_measuring(tiny, capsys, balance):
    settings = ("trainer.ema=0.9", f"balance={balance}", "schedule=plateau")
    plain = train(tiny(*settings, run="plain"))
    measured = train(tiny(*settings, "trainer.minutes=600", run="measured"))

    assert "all 4 steps within trainer.minutes=600" in capsys.readouterr().out
    assert read_config(measured).steps == 4
    a, b = (checkpoint.load(f / "last.pt") for f in (plain, measured))
    for part in ("weights", "ema", "balance"):
        assert equal(a[part], b[part]), part
    assert a["schedule"] == b["schedule"]


def test_a_slow_machine_trains_fewer_steps_on_their_own_schedule(tiny, monkeypatch, capsys):
    monkeypatch.setattr(pace, "step_seconds", lambda run: 30.0)
    fitted = train(tiny("trainer.minutes=1.5", run="fitted"))
    three = train(tiny("steps=3", run="three"))

    assert "3 of 4 steps within trainer.minutes=1.5" in capsys.readouterr().out
    assert read_config(fitted).steps == 3
    assert equal(weights(fitted), weights(three))


def test_a_resumed_run_keeps_the_length_that_was_settled(tiny, monkeypatch):
    monkeypatch.setattr(pace, "step_seconds", lambda run: 30.0)
    folder = train(tiny("trainer.minutes=1.5"))
    monkeypatch.setattr(pace, "step_seconds", lambda run: pytest.fail("measured again"))

    train(resume_config(folder))
    train(resume_config(folder, ["steps=4"]))

    assert checkpoint.load(folder / "last.pt")["step"] == 4
    with pytest.raises(UsageError, match="settled when it begins"):
        resume_config(folder, ["trainer.minutes=3"])


def test_only_the_demo_is_fitted_to_the_machine():
    assert compose_config(["experiment=demo"]).trainer.minutes == 7.5
    assert compose_config([]).trainer.minutes is None
