"""docs/own_data.md, followed to the letter on a dozen small drawings."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from perception.cli import main
from perception.files import write_image
from tests.shared import ROOT

SMALL = (
    "encoder.width=0.35",
    "encoder.output_stride=32",
    "augment.size=[64,96]",
    "trainer.workers=0",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "trainer.report=false",
    "steps=1",
)
SHAPES = (
    ("asphalt", "polygon", [[0, 40], [95, 40], [95, 63], [0, 63]]),
    ("tuk-tuk", "rectangle", [[10, 20], [40, 55]]),
    ("person", "rectangle", [[60, 15], [72, 58]]),
)


def draw(folder: Path) -> None:
    """12 annotated pictures of three days, drawn with the classes of the page."""
    rng = np.random.default_rng(0)
    for number in range(12):
        day = folder / f"day{number // 4}"
        name = f"{day.name}_{number % 4}"
        write_image(day / f"{name}.jpg", rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
        shapes = [{"label": a, "shape_type": b, "points": c} for a, b, c in SHAPES]
        content = {"shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None}
        (day / f"{name}.json").write_text(json.dumps(content))


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks of a page."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def run(line: str) -> None:
    """One line of the page, with a training of one step."""
    words = shlex.split(line)
    if words[0] != "perception":
        subprocess.run(line, shell=True, check=True)
        return
    words = words[1:] + list(SMALL) * (words[1] == "train") + ["--print"] * (words[1] == "annotate")
    assert main(words) == 0, line


def test_the_page_leads_from_drawings_to_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    draw(tmp_path / "drawings")
    shutil.copytree(tmp_path / "drawings/day0", tmp_path / "new_pictures")
    for path in (tmp_path / "new_pictures").glob("*.json"):
        path.unlink()
    monkeypatch.chdir(tmp_path)
    page = blocks((ROOT / "docs/own_data.md").read_text(encoding="utf-8"))
    files = iter(["conf/data/own.yaml", "map.yaml"])

    for language, text in page:
        if language == "yaml":
            path = tmp_path / next(files)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif text.startswith("background"):
            (tmp_path / "classes.txt").write_text(text)
        else:
            for line in text.splitlines():
                run(line)

    assert (tmp_path / "own/splits/val.txt").read_text().split() == [f"day0_{k}" for k in range(4)]
    assert (tmp_path / "score.html").is_file() and (tmp_path / "audit.html").is_file()
    assert (tmp_path / "runs/own/evaluation.json").is_file()
    for name in ("own", "boxes", "lists"):
        assert (tmp_path / "runs" / name / "last.pt").is_file()
    labels = json.loads((tmp_path / "new_pictures/day0_0.json").read_text())["shapes"]
    assert {shape["label"] for shape in labels} <= {"background", "asphalt", "tuk-tuk", "person"}
