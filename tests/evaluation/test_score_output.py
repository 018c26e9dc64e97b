"""What `perception score` writes and prints."""

import subprocess
import sys

import pytest

from perception.cli import main
from tests.evaluation import cases


def _words(case):
    options = [w for k, v in case.options.items() for w in (f"--{k}", str(v))]
    return ["score", case.name, "--gt", str(case.target), "--pred", str(case.predicted), *options]


@pytest.mark.parametrize("make", [cases.cityscapes_pixel, cases.semantic])
def test_the_mean_iou_stands_on_the_terminal(make, tmp_path, capsys):
    assert main(_words(make(tmp_path))) == 0

    assert "\n mean " in capsys.readouterr().out


def test_a_closed_pipe_costs_no_file(tmp_path):
    case = cases.semantic(tmp_path)
    files = ["--json", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html")]
    command = [sys.executable, "-m", "perception", *_words(case), *files]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.communicate()

    assert (tmp_path / "s.json").is_file()
    assert (tmp_path / "s.html").is_file()


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("role", ["gt", "pred"])
def test_labels_and_predictions_are_never_replaced_by_an_output(option, role, tmp_path, capsys):
    case = cases.semantic(tmp_path)
    before = case.files[role].read_bytes()

    assert main([*_words(case), option, str(case.files[role])]) == 2

    assert case.files[role].read_bytes() == before
    assert "a file of the labels or predictions" in capsys.readouterr().err


def test_an_output_beside_the_predictions_is_written_again(tmp_path):
    case = cases.semantic(tmp_path)
    out = ["--json", str(case.predicted / "score.json")]

    assert main([*_words(case), *out]) == 0
    assert main([*_words(case), *out]) == 0


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path, capsys):
    case = cases.cityscapes_pixel(tmp_path)
    cases.write_png(case.predicted / "zz[" / "u]x.png", cases.cv2.imread(str(case.files["pred"])))

    assert main(_words(case)) == 0
    assert "zz[/u]x.png" in capsys.readouterr().out


def test_a_folder_given_to_submit_check_is_called_a_folder(tmp_path, capsys):
    assert main(["submit", "kitti_road", "--check", str(tmp_path)]) == 1
    assert "found a folder, expected a zip archive" in capsys.readouterr().err


def test_an_archive_of_very_many_files_is_refused_by_their_number(tmp_path, capsys):
    import zipfile

    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for i in range(1001):
            archive.writestr(f"{i}.png", b"")

    assert main(["submit", "kitti_road", "--check", str(tmp_path / "many.zip")]) == 1
    assert "refused: 1,001 files in the archive" in capsys.readouterr().out


OWN = """
from perception.evaluation.semantic.files import Semantic

class Mine(Semantic):
    pass
"""


def test_a_benchmark_of_ones_own_is_scored_by_its_module(tmp_path, monkeypatch, capsys):
    case = cases.semantic(tmp_path)
    (tmp_path / "my_benchmark.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = ["--gt", str(case.target), "--pred", str(case.predicted), "--scheme", "camvid"]

    assert main(["score", "my_benchmark:Mine", *words]) == 0
    assert "mean    73.56" in capsys.readouterr().out

    assert main(["score", "my_benchmark:Other", *words]) == 2
    assert "no benchmark Other in my_benchmark" in capsys.readouterr().err
    assert main(["score", "no_such_module:Mine", *words]) == 2
    assert "No module named 'no_such_module'" in capsys.readouterr().err
