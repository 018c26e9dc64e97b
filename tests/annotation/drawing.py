"""Labelled folders for tests: written by hand or drawn at random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from perception.cli import main
from perception.files import write_image
from perception.formats.labelme import encode_mask, read_mask, read_shape
from perception.structures import Shape

SIZE = (40, 60)  # height, width


def shape(label: str, kind: str, points: Any, **keys: Any) -> dict[str, Any]:
    """One shape as labelme writes it."""
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    } | keys


def parsed(raw: dict[str, Any]) -> Shape:
    """A shape as read from its file, its mask too."""
    made, _ = read_shape(raw)
    if made.type == "mask":
        return Shape(made.label, "mask", made.points, mask=read_mask(raw, 10_000))
    return made


def annotation(shapes: list[dict[str, Any]], image: str = "a.png", **keys: Any) -> dict[str, Any]:
    """One file as labelme writes it."""
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    } | keys


def write_folder(folder: Path, files: dict[str, list[dict[str, Any]]]) -> Path:
    """`<stem>.json` and `<stem>.png` for each entry of `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (stem, shapes) in enumerate(files.items()):
        write_image(folder / f"{stem}.png", picture(number))
        content = json.dumps(annotation(shapes, f"{stem}.png"))
        (folder / f"{stem}.json").write_text(content, encoding="utf-8")
    return folder


def picture(seed: int = 0) -> np.ndarray:
    """(40, 60, 3) noise."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def convert(target: str, src: Path, out: Path, *words: str, source: str = "labelme") -> int:
    """`perception convert` in this process; its exit code."""
    return main(["convert", source, "--to", target, str(src), str(out), "--workers", "1", *words])


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def reasons(out: Path, key: str) -> list[tuple[str, int | None, str]]:
    """(file, shape, reason) of the warnings or errors of a report."""
    return [(e["file"], e["shape"], e["reason"]) for e in report_of(out)[key]]


_coordinate = st.one_of(st.integers(-10, 70), st.floats(-10, 70, width=32))
_point = st.tuples(_coordinate, _coordinate).map(list)
LABELS = (
    "road",
    "lane",
    "sidewalk",
    "car",
    "person",
    "rider",
    "ignore",
    "_background_",
    "sky",
    "bus",
    "license plate",
    "cargroup",
)


@st.composite
def shapes(draw: st.DrawFn, labels: tuple[str, ...] = LABELS) -> dict[str, Any]:
    """Any shape that labelme can draw, partly outside a picture of 60x40."""
    kind = draw(
        st.sampled_from(
            [
                "polygon",
                "rectangle",
                "oriented_rectangle",
                "circle",
                "line",
                "linestrip",
                "point",
                "mask",
            ]
        )
    )
    low, high = {"polygon": (3, 8), "rectangle": (2, 2), "oriented_rectangle": (4, 4),
                 "circle": (2, 2), "line": (2, 2), "linestrip": (2, 5), "point": (1, 1),
                 "mask": (2, 2)}[kind]  # fmt: skip
    points = draw(st.lists(_point, min_size=low, max_size=high))
    made = shape(
        draw(st.sampled_from(labels)),
        kind,
        points,
        group_id=draw(st.sampled_from([None, None, None, 1, 2])),
        flags=draw(st.sampled_from([{}, {}, {}, {"ignore": True}, {"crowd": True}])),
    )
    if kind == "mask":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        height, width = draw(st.integers(1, 15)), draw(st.integers(1, 15))
        mask = rng.random((height, width)) > 0.4
        x, y = (round(v) for v in points[0])
        made["points"] = [[x, y], [x + width - 1, y + height - 1]]
        made["mask"] = encode_mask(mask)
    return made


@st.composite
def boxes(draw: st.DrawFn) -> tuple[str, ...]:
    """Lines of a KITTI label file, boxes inside a picture of 60x40."""
    lines = []
    for _ in range(draw(st.integers(0, 5))):
        x1, x2 = sorted(draw(st.tuples(st.integers(0, 5800), st.integers(1, 100))))
        x1, x2 = x1 / 100, min((x1 + x2 + 1) / 100, 59)
        y1 = draw(st.integers(0, 3000)) / 100
        y2 = y1 + draw(st.integers(100, 800)) / 100
        kind = draw(
            st.sampled_from(
                ["Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc"]
            )
        )
        cut, hidden = draw(st.integers(0, 100)) / 100, draw(st.integers(0, 3))
        solid = " ".join(f"{draw(st.integers(-2000, 9000)) / 100:.2f}" for _ in range(7))
        lines.append(
            f"{kind} {cut:.2f} {hidden} {draw(st.integers(-314, 314)) / 100:.2f} "
            f"{x1:.2f} {y1:.2f} {x2:.2f} {y2:.2f} {solid}"
        )
    if draw(st.booleans()):
        lines.append("DontCare -1 -1 -10 1.00 2.00 9.50 8.25 -1 -1 -1 -1000 -1000 -1000 -10")
    return tuple(lines)
