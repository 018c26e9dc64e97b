"""Random, odd and wrong input to every op ends in an answer or in a ValueError or TypeError."""

import importlib.util
from pathlib import Path

import pytest

import perception.ops as ops

SPEC = importlib.util.spec_from_file_location("fuzz", Path(__file__).with_name("fuzz.py"))
fuzz = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fuzz)


def test_every_op_is_among_the_random_calls():
    functions = {name for name in ops.__all__ if name.islower()} - {"backend", "set_debug"}

    assert set(fuzz.CALLS) == functions


def test_a_thousand_random_calls():
    counts = fuzz.fuzz(1000, seed=1)

    assert all(answered for answered, _ in counts.values())


@pytest.mark.slow
def test_a_hundred_thousand_random_calls():
    counts = fuzz.fuzz(100_000, seed=2)

    assert all(answered for answered, _ in counts.values())
