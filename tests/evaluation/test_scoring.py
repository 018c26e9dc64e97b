import json
import subprocess
import sys

import numpy as np
import pytest

from perception.cli import main
from perception.errors import PerceptionError, UsageError
from perception.evaluation import create, run_benchmark, score
from perception.evaluation.bootstrap import intervals_of, multiplicities
from perception.evaluation.outcome_file import read_outcome, write_outcome
from tests.evaluation import cases


@pytest.fixture(scope="module")
def roads(tmp_path_factory):
    """Twelve frames and two models: one a little worse than the other in every frame."""
    root = tmp_path_factory.mktemp("roads")
    rng = np.random.default_rng(0)
    for i in range(12):
        road = np.zeros((30, 50), bool)
        road[12:, 10 : 35 + i] = True
        label = np.zeros((30, 50, 3), np.uint8)
        label[..., 2] = 255
        label[road] = (255, 0, 255)
        noise = rng.normal(0, 40, road.shape)
        cases.write_png(root / "gt" / f"um_road_{i:06d}.png", label)
        for name, contrast in (("better", 90), ("worse", 45)):
            confidence = np.clip(128 + np.where(road, 1, -1) * contrast + noise, 0, 255)
            cases.write_png(root / name / f"um_road_{i:06d}.png", confidence.astype(np.uint8))
    return root


NAME = "kitti_road/perspective"


def test_workers_change_nothing(roads, tmp_path):
    for workers in (1, 3):
        outcome = score(NAME, roads / "gt", roads / "better", workers=workers)
        write_outcome(tmp_path / f"{workers}.json", outcome, {})

    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "3.json").read_bytes()


def test_an_error_in_a_worker_arrives_with_the_name_of_its_file(roads, tmp_path):
    for path in (roads / "better").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "um_road_000010.png").write_bytes(b"")

    with pytest.raises(PerceptionError, match=r"um_road_000010\.png"):
        score(NAME, roads / "gt", tmp_path, workers=2)


@pytest.mark.parametrize("make", cases.ALL, ids=lambda v: v.__name__)
def test_a_stored_score_comes_back_whole(make, tmp_path):
    case = make(tmp_path)
    outcome = score(case.name, case.target, case.predicted, **case.options)
    write_outcome(tmp_path / "score.json", outcome, {})

    stored = read_outcome(tmp_path / "score.json")

    assert stored.keys == tuple(job.key for job in outcome.jobs)
    assert stored.benchmark.protocol == outcome.benchmark.protocol
    again = stored.benchmark.headline(stored.benchmark.merge(stored.records))
    assert repr(dict(again)) == repr(dict(outcome.result.headline))


@pytest.mark.parametrize("make", cases.ALL, ids=lambda v: v.__name__)
def test_drawing_every_image_once_gives_the_score_itself(make, tmp_path):
    case = make(tmp_path)
    outcome = score(case.name, case.target, case.predicted, **case.options)

    once = outcome.benchmark.resampler(outcome.records)(np.ones(len(outcome.jobs), np.int64))

    assert repr(dict(once)) == repr(dict(outcome.result.headline))


def test_drawing_an_image_twice_equals_scoring_it_twice(roads):
    outcome = score(NAME, roads / "gt", roads / "worse")
    times = np.zeros(12, np.int64)
    times[[3, 5]] = 2, 1
    drawn = [outcome.records[3], outcome.records[3], outcome.records[5]]

    fast = outcome.benchmark.resampler(outcome.records)(times)

    assert dict(fast) == dict(outcome.benchmark.headline(outcome.benchmark.merge(drawn)))


def test_intervals_hold_the_score_and_follow_the_seed(roads):
    outcome = score(NAME, roads / "gt", roads / "worse")

    intervals = intervals_of(outcome, draws=200, seed=1)

    low, high = intervals["URBAN_ROAD MaxF1"]
    assert low < outcome.result.headline["URBAN_ROAD MaxF1"] < high
    assert intervals == intervals_of(outcome, draws=200, seed=1)
    assert intervals != intervals_of(outcome, draws=200, seed=2)


def test_every_draw_has_as_many_images_as_the_set():
    assert {int(times.sum()) for times in multiplicities(7, 20, 0)} == {7}


def test_compare_tells_a_difference_from_noise(roads, tmp_path, capsys):
    for name in ("better", "worse"):
        words = ["score", NAME, "--gt", str(roads / "gt"), "--pred", str(roads / name)]
        assert main([*words, "--json", str(tmp_path / f"{name}.json")]) == 0
    out = tmp_path / "difference.json"
    files = [str(tmp_path / "better.json"), str(tmp_path / "worse.json")]

    assert main(["compare", *files, "--bootstrap", "300", "--json", str(out)]) == 0
    assert main(["compare", files[0], files[0], "--bootstrap", "50"]) == 0

    found = json.loads(out.read_text())["um_road MaxF1"]
    assert found["difference"] < 0
    assert found["low"] < found["high"] < 0
    assert found["beyond_noise"] is True
    printed = capsys.readouterr().out
    assert "more than noise" in printed
    assert "within noise" in printed


def test_scores_of_different_protocols_or_images_do_not_compare(roads, tmp_path, capsys):
    case = cases.bdd(tmp_path)
    write_outcome(tmp_path / "bdd.json", score(case.name, case.target, case.predicted), {})
    outcome = score(NAME, roads / "gt", roads / "better")
    write_outcome(tmp_path / "road.json", outcome, {})
    fewer = json.loads((tmp_path / "road.json").read_text())
    fewer["images"].pop()
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))

    assert main(["compare", str(tmp_path / "road.json"), str(tmp_path / "bdd.json")]) == 1
    assert main(["compare", str(tmp_path / "road.json"), str(tmp_path / "fewer.json")]) == 1
    assert main(["compare", str(tmp_path / "road.json"), str(tmp_path / "none.json")]) == 1
    errors = capsys.readouterr().err
    assert "bdd/lane version 1" in errors
    assert "1 images that only one file has" in errors
    assert "none.json: found no such file" in errors


@pytest.mark.parametrize("change", ["{", "[]", '{"format": 9}', '{"format": 1}'])
def test_a_file_that_is_no_score_is_refused(change, tmp_path):
    (tmp_path / "x.json").write_text(change)

    with pytest.raises(PerceptionError, match=r"x\.json"):
        read_outcome(tmp_path / "x.json")


@pytest.mark.parametrize("key", [None, 3, [], {}])
def test_a_stored_image_without_a_name_is_refused(roads, tmp_path, key):
    write_outcome(tmp_path / "a.json", score(NAME, roads / "gt", roads / "better"), {})
    content = json.loads((tmp_path / "a.json").read_text())
    content["images"][0]["key"] = key
    (tmp_path / "a.json").write_text(json.dumps(content))

    with pytest.raises(PerceptionError, match=r"a\.json: found no score"):
        read_outcome(tmp_path / "a.json")


def test_a_count_that_no_number_holds_is_refused(roads, tmp_path):
    write_outcome(tmp_path / "a.json", score(NAME, roads / "gt", roads / "better"), {})
    content = json.loads((tmp_path / "a.json").read_text())
    content["images"][0]["record"]["histogram"] = 10**30
    (tmp_path / "a.json").write_text(json.dumps(content))

    with pytest.raises(PerceptionError, match=r"a\.json: found no score \(OverflowError"):
        read_outcome(tmp_path / "a.json")


def test_the_page_holds_curves_images_and_pictures(roads, tmp_path):
    words = ["score", NAME, "--gt", str(roads / "gt"), "--pred", str(roads / "worse")]

    assert main([*words, "--html", str(tmp_path / "page.html"), "--worst", "2"]) == 0

    page = (tmp_path / "page.html").read_text()
    assert page.count("<tr>") == 1 + 2 + 1 + 12  # two tables: categories, images
    assert page.count("<img ") == 2 * 2  # confidence and errors of two images
    assert "Precision over recall" in page


def test_unknown_benchmarks_and_options_are_wrong_use(capsys):
    with pytest.raises(UsageError, match="no such protocol"):
        create("kitti_road", {})
    for pattern in ("{name}.png", "{.png", "{}.png"):
        with pytest.raises(UsageError, match="pred-name"):
            create(NAME, {"pred_name": pattern})
    with pytest.raises(UsageError, match="Only kitti_road/bev"):
        create(NAME, {"pred_space": "bev"})
    with pytest.raises(UsageError, match="option colour"):
        create(NAME, {"colour": 1})
    assert main(["score", "kitti_road", "--gt", "a", "--pred", "b"]) == 2
    assert "kitti_road/bev" in capsys.readouterr().err


def test_a_merged_scheme_is_scored_like_merged_images(tmp_path):
    (tmp_path / "two.yaml").write_text(
        "name: two\nlabels:\n  - {name: flat, id: 0, color: [1, 2, 3]}\n"
        "  - {name: rest, id: 1, color: [4, 5, 6]}\nmap:\n  camvid:\n"
        + "".join(
            f"    {name}: {'flat' if name in ('road', 'pavement') else 'rest'}\n"
            for name in create("semantic/pixel", {"scheme": "camvid"}).labels.names
        )
    )
    case = cases.semantic(tmp_path)
    merged = create("semantic/pixel", {"scheme": "camvid", "merge_by": str(tmp_path / "two.yaml")})

    outcome = run_benchmark(merged, case.target, case.predicted)

    # 40 rows: 2 void, 13 sky, 25 road; the prediction lies 3 rows lower, its last rows on top:
    # row 2 road, rows 3 and 4 void (a miss), rows 5..17 sky, the rest road
    assert outcome.result.values["class_iou"] == {"flat": 22 / (25 + 1), "rest": 10 / (13 + 3)}


def test_every_benchmark_loads_without_torch():
    code = (
        "import sys; from perception.evaluation import BENCHMARKS, benchmark_class; "
        "[benchmark_class(name) for name in BENCHMARKS]; import perception.evaluation.page; "
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
