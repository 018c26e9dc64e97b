"""Box benchmarks from files: processes, stored scores, resampled sets, the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from perception.cli import main
from perception.errors import PerceptionError, UsageError
from perception.evaluation import create, run_benchmark, score
from perception.evaluation.outcome_file import read_outcome, write_outcome
from perception.formats.kitti_object import write_labels, write_results
from perception.structures import Boxes
from tests.shared import ROOT

KINDS = ("Car", "Pedestrian", "Van", "DontCare")


def some_boxes(generator, count) -> Boxes:
    x, y = generator.uniform(0, 600, count), generator.uniform(100, 200, count)
    size = generator.uniform(20, 90, (count, 2))
    return Boxes.of(
        np.column_stack([x, y, x + size[:, 0], y + size[:, 1]]).round(2),
        generator.choice(KINDS[:3], count),
        truncation=np.zeros(count),
        occlusion=generator.integers(0, 3, count),
        alpha=generator.uniform(-3, 3, count).round(2),
    )


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    """(labels, results) of 20 frames; about half of the labels are found."""
    folder, generator = tmp_path_factory.mktemp("kitti"), np.random.default_rng(3)
    for index in range(20):
        target = some_boxes(generator, 6)
        found = Boxes.concatenate([target[::2], some_boxes(generator, 4)])
        found = found.replace(score=generator.uniform(0, 1, len(found)).round(2))
        write_labels(folder / f"gt/{index:06d}.txt", target)
        write_results(folder / f"pred/{index:06d}.txt", found)
    return folder / "gt", folder / "pred"


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """(ground truth, folder of detections, JSON list) of 12 images."""
    folder, generator = tmp_path_factory.mktemp("voc"), np.random.default_rng(4)
    for name in ("Annotations", "ImageSets/Main", "found"):
        (folder / name).mkdir(parents=True)
    lines, entries = [], []
    for image in "abcdefghijkl":
        items = []
        for x, y, difficult in generator.integers([1, 1, 0], [200, 200, 2], (3, 3)).tolist():
            items.append(
                f"<object><name>car</name><difficult>{difficult}</difficult><bndbox><xmin>{x}</xmin>"
                f"<ymin>{y}</ymin><xmax>{x + 50}</xmax><ymax>{y + 60}</ymax></bndbox></object>"
            )
            value, shift = round(float(generator.random()), 1), float(generator.choice([0, 3, 60]))
            lines.append(f"{image} {value} {x + shift} {y} {x + shift + 50} {y + 60}")
            box = [x + shift - 1, y - 1, x + shift + 50, y + 60]
            entries.append({"image_id": image, "category": "car", "bbox": box, "score": value})
        (folder / f"Annotations/{image}.xml").write_text(
            f"<annotation>{''.join(items)}</annotation>"
        )
    (folder / "ImageSets/Main/test.txt").write_text("\n".join("abcdefghijkl"))
    (folder / "found/car.txt").write_text("\n".join(lines))
    (folder / "found.json").write_text(json.dumps(entries))
    return folder, folder / "found", folder / "found.json"


@pytest.fixture(params=["kitti_object/kitti_2019", "voc/2007", "coco_style"])
def case(request, kitti, voc):
    """Protocol, labels, predictions."""
    if request.param.startswith("kitti"):
        return request.param, *kitti
    return request.param, voc[0], voc[2 if request.param == "coco_style" else 1]


def test_the_result_does_not_depend_on_the_number_of_processes(case):
    protocol, target, predicted = case

    one = score(protocol, target, predicted)
    two = run_benchmark(create(protocol, {}), target, predicted, workers=2)

    assert json.dumps(one.result.values) == json.dumps(two.result.values)


def test_stored_records_give_the_same_scores_again(case, tmp_path):
    protocol, target, predicted = case
    outcome = score(protocol, target, predicted)

    write_outcome(tmp_path / "score.json", outcome, {})
    stored = read_outcome(tmp_path / "score.json")

    assert stored.benchmark.headline(stored.benchmark.merge(stored.records)) == pytest.approx(
        dict(outcome.result.headline), nan_ok=True
    )


def test_a_set_in_which_every_image_is_drawn_once_scores_as_the_set_itself(case):
    protocol, target, predicted = case
    outcome = score(protocol, target, predicted)
    records = outcome.records[::-1]

    headline = outcome.benchmark.resampler(records)(np.ones(len(records), np.int64))

    assert headline == pytest.approx(dict(outcome.result.headline), nan_ok=True)


def test_counts_of_images_add_up_to_what_was_labelled(case):
    protocol, target, predicted = case
    outcome = score(protocol, target, predicted)

    rows = outcome.benchmark.each_image(outcome.records)

    total = sum(row["found"] + row["missed"] for row in rows)
    classes = outcome.result.values["classes"]
    if protocol.startswith("kitti"):
        assert total == sum(one["objects"]["hard"] for one in classes.values())
    elif protocol.startswith("voc"):
        assert total == classes["car"]["npos"]
    assert all(row["balance"] == row["found"] - row["missed"] - row["wrong"] for row in rows)


def test_the_command_line_prints_a_table_and_writes_a_page(kitti, tmp_path, capsys):
    page = tmp_path / "page.html"
    words = ["score", "kitti_object/kitti_2019", "--gt", str(kitti[0]), "--pred", str(kitti[1])]

    assert main([*words, "--html", str(page), "--bootstrap", "20"]) == 0

    assert "pedestrian" in capsys.readouterr().out
    text = page.read_text()
    assert "car moderate AP" in text and "000007" in text


def test_classes_of_ones_own_need_an_overlap(kitti):
    values = score("kitti_object/kitti_2019", *kitti, classes=["van=0.7:car"]).result.values

    assert list(values["classes"]) == ["van"]
    with pytest.raises(PerceptionError, match="class van"):
        score("kitti_object/kitti_2019", *kitti, classes=["van"])
    for wrong in ("van=70", "van=", "=0.5"):
        with pytest.raises(UsageError, match="overlap"):
            score("kitti_object/kitti_2019", *kitti, classes=[wrong])


def test_an_overlap_in_percent_is_refused(voc):
    with pytest.raises(UsageError, match="fraction"):
        score("voc/2007", voc[0], voc[1], iou_threshold=50)


def test_frames_of_ones_choice_come_from_a_file(kitti, tmp_path, capsys):
    (tmp_path / "val.txt").write_text("000003\n000001\n")
    words = ["score", "kitti_object/kitti_2019", "--gt", str(kitti[0]), "--pred", str(kitti[1])]

    assert main([*words, "--frames", str(tmp_path / "val.txt")]) == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "2 images" in shown
    assert "18 results not scored" in shown


def test_scoring_boxes_loads_neither_torch_nor_opencv(kitti):
    code = (
        "import sys; from perception.evaluation import score; "
        f"score('kitti_object/kitti_2019', {str(kitti[0])!r}, {str(kitti[1])!r}); "
        "print([name for name in ('torch', 'cv2', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
