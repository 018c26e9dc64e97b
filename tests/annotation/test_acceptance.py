"""The acceptance cases of the labelme converter, run in this process."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import subprocess
from types import ModuleType, SimpleNamespace

import pytest

from perception.cli import main
from tests.shared import ROOT, shared

CASES = ROOT.parent / "shared" / "labelme_cases"
NAMES = sorted(path.parent.name for path in CASES.glob("*/expected.json"))
FORWARD = "perception convert labelme --to {target} {src} {out} {args}"
BACK = "perception convert {from} --to labelme {src} {out} {args}"


@pytest.fixture(scope="module")
def acceptance() -> ModuleType:
    """The acceptance program, with its command line calls made here."""
    path = shared("accept", "accept_labelme.py")
    spec = importlib.util.spec_from_file_location("accept_labelme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.subprocess = SimpleNamespace(
        run=_run, PIPE=None, STDOUT=None, DEVNULL=None, TimeoutExpired=subprocess.TimeoutExpired
    )
    return module


@pytest.mark.skipif(not NAMES, reason="no acceptance cases beside the repository")
@pytest.mark.parametrize("name", NAMES)
def test_case_of_the_definition_passes(name: str, acceptance: ModuleType) -> None:
    assert acceptance.run_case(CASES / name, FORWARD, BACK, False, 120) is None


def _run(argv: list[str], **_: object) -> SimpleNamespace:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(argv[1:])
    return SimpleNamespace(returncode=code, stdout=output.getvalue().encode())
