import os
import signal
import subprocess
import sys
import time

import pytest

from perception.cli import VERBS, main

WITHOUT_TORCH = [
    v for v in VERBS if v not in ("train", "evaluate", "predict", "look", "annotate", "doctor")
]


@pytest.mark.parametrize("words", [["--help"], *([v, "--help"] for v in VERBS)])
def test_every_verb_explains_itself(words, capsys):
    assert main(words) == 0

    assert "usage" in capsys.readouterr().out.lower()


def test_an_unknown_verb_is_wrong_usage(capsys):
    assert main(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize("verb", WITHOUT_TORCH)
def test_plain_verbs_start_without_torch(verb):
    code = (
        "import sys; from perception.cli import main; main([sys.argv[1], '--help']); "
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code, verb], capture_output=True).returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_one_line_and_leaves_no_process_behind(tmp_path, workers):
    words = ["synthesize", str(tmp_path), "--frames", "5000", "--size", "208x64"]
    command = [sys.executable, "-m", "perception", *words, "--workers", str(workers)]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_hear_ctrl_c
    )
    while not any(tmp_path.rglob("*.png")):
        assert running.poll() is None
        time.sleep(0.05)

    os.killpg(running.pid, signal.SIGINT)  # what a terminal does

    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert error == "perception: interrupted\n"
    for _ in range(400):  # its helpers end by themselves
        try:
            os.killpg(running.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process was left behind")


def _hear_ctrl_c():
    """Undoes what a shell does to background jobs: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
