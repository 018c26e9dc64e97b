"""docs/add_a_head.md, followed to the letter: a depth head, the own lane, two label schemes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from perception.cli import main
from perception.experiments.build import build_model
from perception.experiments.config import compose_config
from perception.files import read_raster, read_yaml, write_image
from perception.labels import load_scheme
from tests.conftest import TINY
from tests.shared import ROOT

PAGE = (ROOT / "docs/add_a_head.md").read_text(encoding="utf-8")
SMALL = [word for word in TINY if not word.startswith("data.sets.")]
RUN = """
import json, sys
from perception.cli import main
for words in json.loads(sys.argv[1]):
    print("$", *words, flush=True)
    assert main(words) == 0, words
"""


def block(language: str, word: str) -> str:
    """The fenced block of the page that holds `word`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = (text for text in blocks if word in text)
    return found


def words_of(line: str) -> list[str]:
    return [word.strip('"') for word in line.split("#")[0].split()[1:]]


def depth_of(image: Path) -> np.ndarray:
    """(64, 208) uint16: rows grow nearer, the sky is unknown."""
    rows = np.linspace(256 * 60, 256 * 4, 64).astype(np.uint16)
    depth = np.repeat(rows[:, None], 208, 1)
    depth[:16] = 0
    return depth


def test_a_depth_head_is_two_files_and_goes_all_the_way(streets: Path, tmp_path: Path):
    for folder in ("perception", "conf", "datasets"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    head, config = block("python", "class Depth"), block("yaml", "heads.depth.Depth")
    for text in (head, config):
        path = tmp_path / text.split("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    layout, targets = block("yaml", "targets:").split("targets:")
    edited = tmp_path / "datasets/synthetic/dataset.yaml"
    line = layout.splitlines()[1]
    text = edited.read_text().replace("layout:\n", f"layout:\n{line}\n") + f"targets:{targets}"
    edited.write_text(text)
    (tmp_path / "data").mkdir()
    root = tmp_path / "data/synthetic"
    shutil.copytree(streets, root)
    for image in root.glob("cityscapes/leftImg8bit/*/*/*.png"):
        name = "_".join(image.stem.split("_")[:2])
        write_image(root / f"depth/{name}.png", depth_of(image))
    category = next(root.glob("cityscapes/leftImg8bit/val/*")).name
    lines = block("sh", "runs/depth").replace("/val/um", f"/val/{category}").splitlines()
    jobs = [words_of(line) for line in lines]
    for job in jobs:
        job += {"train": [*SMALL, "data.sets.synthetic.batch_size=2"], "look": SMALL}.get(
            job[0], []
        )
        job += ["--workers", "1"] if job[0] == "prepare" else []

    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(jobs)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "runs/depth/evaluation.json").read_text())["metrics"]
    depth = {k: v for k, v in metrics.items() if "/depth/" in k}
    assert list(depth) == [
        f"synthetic/depth/{name}"
        for name in ("mean_absolute_error", "abs_rel", "rmse", "delta_1.25")
    ]
    assert depth["synthetic/depth/rmse"] >= depth["synthetic/depth/mean_absolute_error"] > 0
    assert 0 <= depth["synthetic/depth/delta_1.25"] <= 1
    assert "synthetic/road/max_f1" in metrics
    report = (tmp_path / "runs/depth/report.html").read_text()
    assert "synthetic: depth" in report and "mean absolute error (m)" in report
    assert ">depth<" in (tmp_path / "look.html").read_text()
    (values,) = sorted((tmp_path / "predictions/depth").glob("*.npy"))[:1]
    predicted = np.load(values)
    stored = read_raster(values.with_suffix(".png"))
    assert predicted.shape == stored.shape == (64, 208) and stored.dtype == np.uint16
    fitting = np.clip(np.rint(predicted * 256), 1, 65535)
    np.testing.assert_array_equal(stored, fitting.astype(np.uint16))
    told = json.loads((tmp_path / f"predictions/json/{values.stem}.json").read_text())["depth"]
    assert told["unit"] == "m" and told["clipped"] == 0
    assert told["least"] == pytest.approx(float(predicted.min()))
    overlay = read_raster(tmp_path / f"predictions/overlays/{values.stem}.png")
    image = read_raster(next(root.glob(f"cityscapes/leftImg8bit/val/*/{values.stem}.png")))
    assert np.abs(overlay.astype(int) - image).mean() > 20  # colours of depth everywhere


@pytest.fixture
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the page's own choices."""
    text = block("yaml", "two_schemes.yaml")
    path = tmp_path / text.split("\n")[0].removeprefix("# ")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_own_lane_of_kitti_is_trained_and_scored_by_choices_only(page_folder: Path):
    rng = np.random.default_rng(0)
    for number in (0, 1, 20, 21):  # two of val, two of train
        lane = np.zeros((64, 208, 3), np.uint8)
        lane[..., 0] = 255  # valid
        lane[32:, 80:140, 2] = 255
        image = rng.integers(0, 256, (64, 208, 3), dtype=np.uint8)
        write_image(page_folder / f"data/kitti_road/training/image_2/um_{number:06d}.png", image)
        label = f"data/kitti_road/training/gt_image_2/um_lane_{number:06d}.png"
        write_image(page_folder / label, lane)
    words = words_of(block("sh", "head/lane=fcn"))

    small = [*SMALL, "data.sets.kitti_lane.batch_size=2", "run_dir=run"]
    assert main([*words, *small]) == 0
    assert main(["evaluate", "run"]) == 0
    assert main(["predict", "run", "data/kitti_road/training/image_2", "out=predictions"]) == 0

    metrics = json.loads((page_folder / "run/evaluation.json").read_text())["metrics"]
    assert 0 <= metrics["kitti_lane/lane/max_f1"] <= 1
    assert {key.split("/")[1] for key in metrics} == {"lane"}
    folders = sorted(p.name for p in (page_folder / "predictions").iterdir())
    assert folders == ["json", "lane", "overlays"]
    model = build_model(OmegaConf.create(read_yaml(page_folder / "run/config.yaml")))
    assert model.tasks == ("lane",)


def write_ids(folder: Path, image: str, label: str, scheme: str) -> None:
    """A picture and one column of pixels for each trained class."""
    ids = [c.id for c in load_scheme(scheme).trained]
    columns = np.array(ids, np.uint8)[np.arange(208) * len(ids) // 208]
    write_image(folder / label, np.repeat(columns[None], 64, 0))
    colours = cv2.applyColorMap(np.repeat(columns[None], 64, 0), cv2.COLORMAP_TURBO)
    write_image(folder / image, np.asarray(colours, np.uint8))


def test_two_label_schemes_in_one_network_are_one_yaml_file(page_folder: Path):
    for part in ("train", "val"):
        names = (ROOT / f"datasets/camvid/splits/{part}.txt").read_text().split()[:2]
        for number, name in enumerate(names):
            write_ids(
                page_folder / "data/camvid",
                f"{part}/{name}.png",
                f"{part}annot/{name}.png",
                "camvid",
            )
            write_ids(
                page_folder / "data/cityscapes",
                f"leftImg8bit/{part}/ulm/ulm_00000{number}_000019_leftImg8bit.png",
                f"gtFine/{part}/ulm/ulm_00000{number}_000019_gtFine_labelIds.png",
                "cityscapes",
            )
    words = words_of(block("sh", "two_schemes"))
    small = [word for word in SMALL if not word.startswith("head.")]
    own = [f"head.{t}.{k}" for t in ("semantic", "city") for k in ("width=8", "rates=[]")]
    sizes = [f"data.sets.{name}.batch_size=2" for name in ("camvid", "cityscapes")]

    assert main([*words, *small, *own, *sizes, "run_dir=run"]) == 0
    assert main(["evaluate", "run"]) == 0
    assert main(["predict", "run", "data/camvid/val", "out=predictions"]) == 0

    metrics = json.loads((page_folder / "run/evaluation.json").read_text())["metrics"]
    assert sum(k.startswith("camvid/semantic/iou/") for k in metrics) == 11
    assert sum(k.startswith("cityscapes/city/iou/") for k in metrics) == 19
    assert metrics["camvid/semantic/mean_iou"] >= 0 and metrics["cityscapes/city/mean_iou"] >= 0
    known = {c.id for c in load_scheme("cityscapes").trained}
    for path in (page_folder / "predictions/city").glob("*.png"):
        assert set(np.unique(read_raster(path)).tolist()) <= known
    told = json.loads(next((page_folder / "predictions/json").glob("*.json")).read_text())
    assert len(told["semantic_share"]) == 11 and len(told["city_share"]) == 19


def test_the_tasks_of_one_class_of_heads_tell_each_other_apart(words):
    heads = compose_config(words("head/road@head.drive=fcn")).head
    assert heads.drive == heads.drive and heads.drive.skips == ["s8", "s4"]
    assert heads.road.skips == ["s16", "s8"]
