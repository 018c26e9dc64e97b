"""The page on benchmarks, followed to the letter."""

import json
import re
import shlex

import numpy as np

from perception.cli import main
from perception.files import write_image
from tests.shared import ROOT


def test_the_benchmark_of_the_page_is_scored_and_compared(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/add_a_benchmark.md").read_text()
    code, command = (
        re.findall(rf"```{kind}\n(.*?)```", page, re.S)[0] for kind in ("python", "sh")
    )
    (tmp_path / "grey_error.py").write_text(code)
    for i in range(3):
        write_image(tmp_path / f"labels/{i}.png", np.full((4, 5), 100, np.uint8))
        write_image(tmp_path / f"maps/{i}.png", np.full((4, 5), 100 + i, np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert main([*shlex.split(command)[1:], "--workers", "1"]) == 0

    assert json.loads((tmp_path / "a.json").read_text())["scores"]["mean_absolute_error"] == 1.0
    assert "mean absolute error" in (tmp_path / "a.html").read_text()
    capsys.readouterr()
    assert main(["compare", "a.json", "a.json"]) == 0
    assert "too few images" in capsys.readouterr().out

    (tmp_path / "maps/2.png").unlink()
    assert main([*shlex.split(command)[1:], "--workers", "1"]) == 1
    assert "maps: found no map 2, expected one for every label" in capsys.readouterr().err
