"""Few images: no verdict on noise, and intervals as wide as few images make them."""

import json
import math

import pytest

from perception.cli import main
from perception.evaluation import score
from perception.evaluation.bootstrap import FEWEST, intervals_of, tail_of
from perception.evaluation.outcome_file import write_outcome
from tests.evaluation import cases


def test_of_a_single_image_nothing_is_called_more_than_noise(tmp_path, capsys):
    case = cases.road(tmp_path / "a")
    outcome = score(case.name, case.target, case.predicted)
    write_outcome(tmp_path / "a.json", outcome, {})
    changed = json.loads((tmp_path / "a.json").read_text())
    changed["headline"]["uu_road MaxF1"] = 0.5
    (tmp_path / "b.json").write_text(json.dumps(changed))
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]

    assert main(["compare", *files, "--json", str(tmp_path / "d.json")]) == 0

    printed = capsys.readouterr().out
    assert "too few images" in printed
    assert "more than noise" not in printed and "within noise" not in printed
    found = json.loads((tmp_path / "d.json").read_text())["uu_road MaxF1"]
    assert found["p"] is None and found["low"] is None and found["beyond_noise"] is None
    assert found["difference"] == pytest.approx(0.5 - outcome.result.headline["uu_road MaxF1"])


def test_of_a_single_image_there_is_no_interval(tmp_path, capsys):
    case = cases.road(tmp_path)
    outcome = score(case.name, case.target, case.predicted)

    assert intervals_of(outcome, draws=20, seed=0) == {}
    words = ["--gt", str(case.target), "--pred", str(case.predicted), "--bootstrap", "20"]
    assert main(["score", case.name, *words]) == 0
    assert f"too few images for an interval: {FEWEST} or more" in capsys.readouterr().err


def test_the_tail_is_that_of_students_t():
    """By hand: t(0.975) of 9 degrees of freedom is 2.2622, and of 19 2.0930."""
    for images, t in ((10, 2.2622), (20, 2.0930)):
        expected = 0.5 * math.erfc(t * math.sqrt(images / (images - 1)) / math.sqrt(2))
        assert tail_of(images) == pytest.approx(expected, rel=2e-3)


def test_with_many_images_the_tail_is_two_and_a_half_percent():
    assert tail_of(100_000) == pytest.approx(0.025, rel=1e-3)
