"""`perception compare`: two scores, two runs' records, damaged files."""

import json

import numpy as np
import pytest

from perception.cli import main
from tests.evaluation import cases


@pytest.fixture
def scored(tmp_path):
    case = cases.road(tmp_path)
    words = ["--gt", str(case.target), "--pred", str(case.predicted)]
    assert main(["score", case.name, *words, "--json", str(tmp_path / "a.json")]) == 0
    return tmp_path / "a.json"


def _leaves(value, path=()):
    """Path of every value in a JSON tree."""
    yield path
    if not isinstance(value, (dict, list)):
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(inner, (*path, key))


@pytest.mark.parametrize(
    "odd",
    ["null", "9" * 400, pytest.param("9" * 5000, id="long"), '"a"', "[]", "{}", "-1", "1e999"],
)
def test_a_damaged_score_is_one_line(odd, scored, capsys):
    content = json.loads(scored.read_text())
    paths = [p for p in _leaves(content) if p and p[-1] not in range(1, 256)]
    for path in paths:
        damaged = json.loads(scored.read_text())
        inner = damaged
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = "ODD"
        other = scored.with_name("b.json")
        other.write_text(json.dumps(damaged).replace('"ODD"', odd))

        code = main(["compare", str(scored), str(other), "--bootstrap", "2"])

        error = capsys.readouterr().err
        assert code in (0, 1, 2), (path, odd)
        assert code == 0 or len(error.strip().splitlines()) == 1, (path, error)


def _record(folder, value, **other):
    folder.mkdir()
    one = {"frames": 1, "protocols": [{"name": "p"}], "scores": {"f0": {"x": 0.1}}, **other}
    content = {
        "checkpoint": "best.pt",
        "metrics": {"a/road": value, "a/none": None},
        "sets": {"a": one},
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    return str(folder / "evaluation.json")


def test_two_runs_records_are_compared_without_a_verdict(tmp_path, capsys):
    first, second = _record(tmp_path / "one", 0.5), _record(tmp_path / "two", 0.75)

    assert main(["compare", first, second, "--json", str(tmp_path / "d.json")]) == 0

    assert "+0.2500" in capsys.readouterr().out
    assert json.loads((tmp_path / "d.json").read_text()) == {
        "a/road": {"first": 0.5, "second": 0.75, "difference": 0.25, "beyond_noise": None}
    }


def test_runs_on_other_frames_do_not_compare(tmp_path, capsys):
    first = _record(tmp_path / "one", 0.5)
    second = _record(tmp_path / "two", 0.75, scores={"f1": {}})

    assert main(["compare", first, second]) == 1
    assert "2 frames that only one record has, e.g. f0" in capsys.readouterr().err


def test_a_benchmark_of_ones_own_is_compared(tmp_path, monkeypatch, capsys):
    case = cases.semantic(tmp_path)
    for number in range(12):
        for role in ("gt", "pred"):
            path = case.files[role]
            path.with_name(f"n{number}.png").write_bytes(path.read_bytes())
    (tmp_path / "own_to_compare.py").write_text(
        "from perception.evaluation.semantic.files import Semantic\nclass Mine(Semantic): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["--gt", "gt", "--pred", "pred", "--scheme", "camvid", "--workers", "2"]
    assert main(["score", "own_to_compare:Mine", *words, "--json", "a.json"]) == 0

    assert main(["compare", "a.json", "a.json", "--bootstrap", "5"]) == 0
    assert "13 images" in capsys.readouterr().out


def test_chosen_frames_only_are_scored(tmp_path, capsys):
    case = cases.road(tmp_path)
    for number in (1, 2):
        for role in ("gt", "pred"):
            path = case.files[role]
            path.with_name(f"uu_road_{number:06d}.png").write_bytes(path.read_bytes())
    (tmp_path / "list.txt").write_text("uu_road_000000\nuu_000002\n")
    words = ["score", case.name, "--gt", str(case.target), "--pred", str(case.predicted)]
    words += ["--frames", str(tmp_path / "list.txt")]

    assert main(words) == 0
    assert "2 images" in capsys.readouterr().out

    (tmp_path / "list.txt").write_text("uu_road_000009\n")
    assert main(words) == 1
    assert "frame uu_road_000009: found no such label" in capsys.readouterr().err


def test_frames_without_calibration_are_said_and_the_others_scored(tmp_path, capsys):
    case = cases.bev(tmp_path)
    case.files["gt"].with_name("uu_road_000001.png").write_bytes(case.files["gt"].read_bytes())
    words = ["--gt", str(case.target), "--pred", str(case.predicted), "--calib"]

    assert main(["score", case.name, *words, str(case.options["calib"])]) == 0

    out = capsys.readouterr().out
    assert "1 images" in out
    assert "without calibration: 1 frames (e.g. uu_road_000001)" in " ".join(out.split())


@pytest.mark.parametrize("inner", ["", "road"])
def test_the_road_maps_of_predict_are_scored_as_they_are(inner, tmp_path):
    from perception.evaluation import score

    case = cases.road(tmp_path)
    expected = score(case.name, case.target, case.predicted).result.values
    (tmp_path / "out" / "road").mkdir(parents=True)
    case.files["pred"].rename(tmp_path / "out" / "road" / "uu_000000.png")
    (tmp_path / "out" / "boxes").mkdir()

    assert score(case.name, case.target, tmp_path / "out" / inner).result.values == expected


def test_the_classes_of_predict_are_scored_as_they_are(tmp_path):
    from perception.evaluation import score

    case = cases.semantic(tmp_path)
    expected = score(case.name, case.target, case.predicted, **case.options).result.values
    case.predicted.rename(tmp_path / "semantic")
    (tmp_path / "out").mkdir()
    (tmp_path / "semantic").rename(tmp_path / "out" / "semantic")

    found = score(case.name, case.target, tmp_path / "out", **case.options).result.values

    np.testing.assert_equal(found, expected)
