import subprocess
import sys

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
