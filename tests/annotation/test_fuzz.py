"""A short run of `scripts/fuzz_labelme.py`; the long one has 20,000 files."""

from __future__ import annotations

import importlib.util

import pytest

from tests.shared import ROOT


def fuzz(files: int, seed: int) -> dict[str, int]:
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "scripts" / "fuzz_labelme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fuzz(files, seed)


def test_mutated_files_are_converted_or_refused_without_leftovers():
    counts = fuzz(800, seed=1)

    assert counts["converted"] > 50
    assert counts["bad_points"] and counts["json_invalid"] and counts["unknown_label"]


@pytest.mark.slow
def test_many_mutated_files_are_converted_or_refused():
    assert fuzz(20_000, seed=2)["converted"] > 1000
