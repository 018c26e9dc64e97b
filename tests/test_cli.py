import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perception.cli import VERBS, main
from perception.cli.options import read_words
from perception.cli.predict import destinations
from perception.errors import UsageError

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


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"road-perception \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_words_are_a_run_then_paths_then_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r=1, é").mkdir()

    words = ["r=1, é", "score=0.2", "a.png", "head.boxes.nms_iou=0.4", "+x.y=1", "~/b"]
    read = read_words(words, verb="predict", options={"score"}, old=["run", "images"])

    assert read.paths == (Path("r=1, é"), Path("a.png"), Path("~/b").expanduser())
    assert read.options == {"score": "0.2"}
    assert read.overrides == ("head.boxes.nms_iou=0.4", "+x.y=1")


@pytest.mark.parametrize(
    "words", [["r", "a.png"], ["run=r", "images=a.png"], ["images=a.png", "run=r"],
              ["run=r", "a.png"], ["a.png", "run=r"], ["r", "images=a.png"]]
)  # fmt: skip
def test_old_and_new_words_mean_the_same(words):
    read = read_words(words, verb="predict", options=set(), old=["run", "images"])

    assert read.paths == (Path("r"), Path("a.png"))
    assert bool(read.old) == any("=" in w for w in words)


def test_several_images_never_share_a_place(tmp_path):
    (tmp_path / "day").mkdir()
    film, one = tmp_path / "film.mp4", tmp_path / "one.png"

    places = destinations([tmp_path / "day", film, one], Path("out"))

    assert [place for _, place in places] == [Path("out/day"), Path("out/film"), Path("out")]
    assert destinations([film], Path("out")) == [(film, Path("out"))]
    with pytest.raises(UsageError, match="the name of"):
        destinations([one, tmp_path / "other" / "one.jpg"], Path("out"))


@pytest.mark.parametrize(
    "verb", ["synthesize", "prepare", "convert", "audit", "score semantic/pixel"]
)
def test_workers_are_one_option_everywhere(verb, capsys):
    assert main([*verb.split(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "worker processes (default: one per core); affects speed only" in shown

    for wrong in ("0", "-1", "two"):
        assert main([*verb.split(), f"--workers={wrong}"]) == 2
        assert (
            capsys.readouterr().err
            == f"perception: --workers: found {wrong}, expected 1 or more.\n"
        )


@pytest.mark.parametrize("words", [["doctor"], ["train", "--help"], ["train", "--cfg"]])
def test_a_full_disk_behind_the_terminal_is_one_line(words):
    with open("/dev/full", "w") as full:  # noqa: PTH123, a device
        ended = subprocess.run(
            [sys.executable, "-m", "perception", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr == "perception: output: No space left on device\n"


@pytest.mark.parametrize("words", [["doctor"], ["train", "--cfg"], ["predict", "--help"]])
def test_a_reader_that_has_gone_is_no_error_message(words):
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "perception", *words],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)

    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_terminal_without_our_letters_shows_escapes():
    words = ["-c", "from perception.cli import main; main(['--version']); print('é')"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}

    ended = subprocess.run(
        [sys.executable, *words], env=ascii_only, capture_output=True, text=True, check=False
    )

    assert ended.stdout.endswith("\\xe9\n"), ended.stderr


def test_the_home_folder_is_known_where_the_shell_leaves_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert main(["prepare", "camvid", "--root=~/data"]) == 1

    assert f"{tmp_path / 'data'}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "look", "predict", "evaluate"])
def test_help_answers_without_the_heavy_libraries(verb):
    code = (
        "import sys; from perception.cli import main; main([sys.argv[1], '--help']); "
        "sys.exit(bool({'torch', 'hydra', 'albumentations', 'omegaconf'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code, verb], capture_output=True).returncode == 0


def test_loading_a_model_needs_no_training_libraries():
    code = (
        "import sys, perception.experiments.load; "
        "sys.exit(bool({'albumentations', 'lightning_fabric', 'torch._dynamo'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
