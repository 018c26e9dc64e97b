"""The folder of shared material beside the repository; tests that need it skip without it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def shared(*parts: str) -> Path:
    """`../shared/<parts>`, or the test is skipped."""
    path = ROOT.parent.joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"no {path.name} folder beside the repository")
    return path
