"""A mask task is told at the best threshold of its frames, and at 0.5."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from perception.experiments.meters import MaskMeter
from perception.structures import MaskResult
from perception.tasks import Kind, Task


def meter(*probability: float) -> MaskMeter:
    """Of four pixels: two of road, then two that are none."""
    measured = MaskMeter(Task("road", Kind.MASK), None, ())
    result = MaskResult(np.array([probability], np.float32))
    label = SimpleNamespace(
        mask=np.array([[True, True, False, False]]), valid=np.ones((1, 4), bool)
    )
    measured.update("um_000000", result, label)
    return measured


def test_a_network_that_is_too_sure_has_a_high_best_and_a_low_f1_at_a_half():
    found = meter(0.99, 0.98, 0.9, 0.8).metrics()

    assert found["max_f1"] == pytest.approx(1.0)
    assert found["f1_at_half"] == pytest.approx(2 * 2 / (2 * 2 + 2))  # all four pixels are road
    assert found["best_threshold"] > 0.9


def test_a_half_is_road_and_just_below_it_is_not():
    assert meter(0.5, 0.5, 0.0, 0.0).metrics()["f1_at_half"] == pytest.approx(1.0)
    assert meter(0.497, 0.497, 0.0, 0.0).metrics()["f1_at_half"] == pytest.approx(0.0, abs=1e-9)


def test_both_are_headlines():
    assert list(meter(0.9, 0.9, 0.1, 0.1).headline()) == ["road MaxF1", "road F1 at 0.5"]
