"""docs/add_a_dataset.md, followed literally."""

import re
import sys
from pathlib import Path

import numpy as np
import yaml

from perception.cli import main
from perception.data.augment import Augment
from perception.data.build import build_sets
from perception.data.datasets import open_dataset
from perception.files import write_image

PAGE = (Path(__file__).parents[2] / "docs" / "add_a_dataset.md").read_text()
DATASET, CONFIG = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
(READER,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def campus(root):
    """Three days of two frames; the last day has a person and two boxes."""
    for day in ("2026-05-01", "2026-05-02", "2026-05-03"):
        for number in ("0001", "0002"):
            ids = np.full((20, 30), 1, np.uint8)
            ids[:5], ids[:, :2] = 2, 0
            write_image(root / f"frames/{day}/{number}.jpg", np.zeros((20, 30, 3), np.uint8))
            write_image(root / f"labels/{day}/{number}.png", ids)
            (root / f"boxes/{day}").mkdir(parents=True, exist_ok=True)
            (root / f"boxes/{day}/{number}.txt").write_text(
                "Van 0 0 -10 1 1 9 9 -1 -1 -1 -1000 -1000 -1000 -10\n"
                "Person_sitting 0 0 -10 5 5 9 19 -1 -1 -1 -1000 -1000 -1000 -10\n"
            )
    return root


def test_the_example_is_verified_and_trained_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    campus(tmp_path / "data" / "campus")
    (tmp_path / "dataset.yaml").write_text(DATASET)

    assert main(["prepare", "dataset.yaml", "--root", "data/campus", "--workers", "1"]) == 0
    assert capsys.readouterr().out.endswith("6 frames, nothing damaged\n")

    config = yaml.safe_load(CONFIG)
    config["sets"]["campus"]["dataset"] = "dataset.yaml"
    config["sets"]["campus"]["tasks"] = ["semantic", "road", "boxes"]
    (made,) = build_sets(config, Augment((20, 30)))
    batch = made.stream(seed=0, workers=0).batch(0)

    assert [f.key for f in made.val.frames] == ["2026-05-03/0001", "2026-05-03/0002"]
    assert len(made.train) == 4
    assert batch.semantic[0, :, 10].tolist() == [1] * 5 + [0] * 15
    assert batch.road[0, 10].tolist() == [255] * 2 + [1] * 28
    assert batch.boxes[0].label.tolist() == [0, 1]
    assert batch.boxes[0].ignore.tolist() == [False, True]


def test_a_data_set_in_another_encoding_needs_one_function(tmp_path, monkeypatch):
    campus(tmp_path / "data")
    for path in (tmp_path / "data").glob("boxes/*/*.txt"):
        path.write_text("1,2,9,8,Car\n")
    (tmp_path / "campus_boxes.py").write_text(READER)
    (tmp_path / "dataset.yaml").write_text(DATASET + "reader: campus_boxes\n")
    monkeypatch.syspath_prepend(tmp_path)

    data = open_dataset(tmp_path / "dataset.yaml", tmp_path / "data", "val", tasks=["boxes"])

    assert data.sample(0).boxes.xyxy.tolist() == [[1, 2, 9, 8]]
    sys.modules.pop("campus_boxes")
