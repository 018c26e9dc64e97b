"""`profile=true` leaves a trace and a table."""

from __future__ import annotations

import json

from perception.training.loop import train


def test_a_profile_is_a_trace_and_a_table_of_operations(tiny):
    folder = train(tiny("steps=5", "profile=true"))

    assert json.loads((folder / "profile.json").read_text())["traceEvents"]
    assert "aten::" in (folder / "profile.txt").read_text()
    assert "Self CPU" in (folder / "profile.txt").read_text()


def test_without_it_nothing_is_written(tiny):
    folder = train(tiny("steps=1"))

    assert not list(folder.glob("profile.*"))
