"""Wishes that are settled when a run begins, and stored as what came of them."""

from __future__ import annotations

import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.config import compose_config, read_config
from perception.training.loop import resume_config, train
from perception.training.settle import weights_of_classes


@pytest.mark.parametrize(
    ("rule", "pixels", "weights"),
    [
        ("balanced", [80, 10, 10, 0], [0.4167, 3.333, 3.333, 3.333]),  # 100 / (3 * 80), ...
        ("median_frequency", [80, 20, 20, 0], [0.5, 1.0, 2.0, 2.0]),  # shares 0.8, 0.4, 0.2
    ],
)
def test_weights_of_classes_at_hand_worked_counts(rule, pixels, weights):
    present = np.array([100, 50, 100, 0])

    assert weights_of_classes(rule, np.array(pixels), present) == weights


@pytest.mark.parametrize("rule", ["balanced", "median_frequency"])
def test_class_weights_are_stored_as_numbers_and_kept_by_a_resumed_run(tiny, capsys, rule):
    words = [f"head.{task}.class_weights={rule}" for task in ("road", "semantic")]
    folder = train(tiny("head/road=fcn", "head.road.masks=softmax", *words, "steps=1"))

    out = capsys.readouterr().out
    assert f"head.road.class_weights={rule}: background " in out
    assert "(from 4 training frames)" in out
    stored = read_config(folder).head
    assert len(stored.road.class_weights) == 2
    assert all(isinstance(w, float) for w in stored.semantic.class_weights)

    train(resume_config(folder, ["steps=2"]))
    assert checkpoint.load(folder / "last.pt")["step"] == 2
    assert read_config(folder).head == stored


def test_an_unknown_rule_is_answered_with_the_known_ones(tiny):
    with pytest.raises(PerceptionError, match=r"found rare, .*balanced or median_frequency"):
        train(tiny("head.semantic.class_weights=rare"))


@pytest.mark.parametrize(("preset", "steps"), [("overfit", 300), ("debug", 2)])
def test_presets_stand_above_experiments_and_below_what_is_typed(preset, steps):
    config = compose_config(["experiment=demo", f"preset={preset}", "trainer.frames=6"])

    assert (config.steps, config.trainer.frames, config.trainer.minutes) == (steps, 6, None)
    assert config.trainer.ema == 0.99  # of the experiment


def test_a_debug_run_trains_two_steps_on_two_frames_and_is_evaluated_on_them(tiny, capsys):
    folder = train(tiny("preset=debug", "steps=2"))

    config = read_config(folder)
    sets = config.data.sets.synthetic
    assert (sets.train.limit, sets.val) == (2, sets.train)
    assert set(config.augment) == {"_target_", "_recursive_", "_convert_", "size"}
    assert checkpoint.load(folder / "last.pt")["step"] == 2
    assert "2 frames to train" in capsys.readouterr().out
