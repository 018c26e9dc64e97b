"""The bar: on a terminal and nowhere else."""

from __future__ import annotations

import io
import os
import sys

import pytest

from perception.progress import progress, tracked


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_nothing_is_shown_where_nobody_looks_on(
    term: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("reading", 3) as show:
        show(1)
        show(2, 5)

    assert list(tracked("abc", 3, "reading")) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("reading", 3) as show:
            show(2)
    assert b"reading" in os.read(reader, 10_000)
    os.close(reader)


def test_without_a_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress("reading") as show:
        show(1)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(tracked([1], 1, "reading")) == [1]
