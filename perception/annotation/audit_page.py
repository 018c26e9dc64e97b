"""The page of `perception audit`: what was found, with a thumbnail of each finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.annotation.audit import SEVERITIES, Audit
from perception.annotation.checks import Finding
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Item, Settings
from perception.annotation.raster import covers, pixel_box, shape_mask
from perception.annotation.sources import labelme
from perception.annotation.sources.labelme import Examined
from perception.report.page import render
from perception.report.parts import (
    Column,
    Figure,
    Figures,
    Lines,
    Panel,
    Part,
    Pictures,
    Section,
    Series,
    Table,
    Text,
)
from perception.structures import Shape

MAX_THUMBNAILS = 300  # a page of a few MB
_SIZE = (240, 160)  # width, height of a thumbnail
_COLOURS = {"error": (255, 40, 40), "warn": (255, 170, 0), "info": (80, 160, 255)}


def audit_page(audit: Audit, settings: Settings, source: str) -> str:
    """The HTML text."""
    sections = [
        Section("Summary", (_figures(audit), _reasons(audit))),
        *_findings(audit, settings),
        Section("Classes", _classes(audit)),
    ]
    return render(
        "Audit of labelled images",
        sections,
        subtitle="What converting would refuse or warn about, and what looks like a slip.",
        facts={"folder": source, "annotations": len(audit.files)},
    )


def _figures(audit: Audit) -> Figures:
    readable = sum(one.readable for one in audit.files)
    counts = [
        ("annotations", len(audit.files)),
        ("without error", readable),
        ("errors", audit.count("error")),
        ("warnings", audit.count("warn")),
    ]
    return Figures(tuple(Figure(name, value, kind="count") for name, value in counts))


def _reasons(audit: Audit) -> Table:
    counts = Counter((f.severity, f.reason) for f in audit.findings if f.severity != "info")
    rows = sorted(counts.items(), key=lambda row: (SEVERITIES.index(row[0][0]), -row[1]))
    columns = (Column("severity", "text"), Column("finding", "text"), Column("count", "count"))
    return Table(columns, tuple((*key, count) for key, count in rows))


def _findings(audit: Audit, settings: Settings) -> list[Section]:
    """One section per severity: a table, and pictures of what can be shown."""
    items = {item.file: item for item in audit.items}
    left = MAX_THUMBNAILS
    sections = []
    for severity, title in (("error", "Errors"), ("warn", "Warnings"), ("info", "Facts")):
        found = [f for f in audit.findings if f.severity == severity]
        if not found:
            continue
        columns = (
            Column("file", "text"),
            Column("shape", "count"),
            Column("finding", "text"),
            Column("detail", "text"),
        )
        rows = tuple((f.file or "(folder)", f.shape, f.reason, f.detail) for f in found)
        parts: list[Part] = [Table(columns, rows, tall=len(rows) > 20)]
        if severity != "info":
            shown = _thumbnails(found[:left], items, settings)
            parts += shown
            left -= min(left, len(found))
            if left == 0:
                parts.append(Text(f"Only {MAX_THUMBNAILS} findings are shown as pictures."))
        sections.append(Section(title, tuple(parts)))
    return sections


def _thumbnails(
    findings: list[Finding], items: dict[str, Item], settings: Settings
) -> list[Pictures]:
    """A row of pictures for each reason."""
    rows: dict[str, list[Panel]] = {}
    frames: dict[str, Examined | None] = {}
    for finding in sorted(findings, key=lambda f: f.file):
        if finding.file not in items:  # of the folder
            continue
        if finding.file not in frames:
            frames = {finding.file: _examined(items[finding.file], settings)}
        frame = frames[finding.file]
        if frame is not None and frame.image is not None:
            shape = "" if finding.shape is None else f" · shape {finding.shape}"
            panel = Panel(f"{finding.file}{shape}", _thumbnail(frame.image, frame.shapes, finding))
            rows.setdefault(finding.reason, []).append(panel)
    return [
        Pictures(reason if k == 0 else "", tuple(panels[k : k + 4]), columns=4)
        for reason, panels in sorted(rows.items())
        for k in range(0, len(panels), 4)
    ]


def _examined(item: Item, settings: Settings) -> Examined | None:
    """What there is to show; None where the file can no longer be read."""
    try:
        return labelme.examine(item, settings)
    except Exception:  # it is in the table with its reason
        return None


def _thumbnail(
    image: EncodedImage, shapes: Sequence[Shape | None], finding: Finding
) -> NDArray[np.uint8]:
    """(h, w, 3) RGB: the shape, outlined, with some of what is around it; else the frame."""
    picture = image.read()
    height, width = picture.shape[:2]
    known = finding.shape is not None and finding.shape < len(shapes)
    shape = shapes[finding.shape or 0] if known else None
    left, top, right, bottom = 0, 0, width, height
    if shape is not None and _can_draw(shape, (height, width)):
        picture = _outlined(picture, shape, _COLOURS[finding.severity])
        left, top, right, bottom = _around(pixel_box(shape), (height, width))
    part = picture[top:bottom, left:right]
    scale = min(_SIZE[0] / part.shape[1], _SIZE[1] / part.shape[0])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    canvas = np.full((_SIZE[1], _SIZE[0], 3), 24, np.uint8)
    x, y = (_SIZE[0] - size[0]) // 2, (_SIZE[1] - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = cv2.resize(part, size, interpolation=kind)
    return canvas


def _can_draw(shape: Shape, size: tuple[int, int]) -> bool:
    drawable = len(shape.points) > (2 if shape.type == "polygon" else 0)
    return drawable and (shape.type != "mask" or shape.mask is not None) and covers(shape, size)


def _outlined(
    picture: NDArray[np.uint8], shape: Shape, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    mask = shape_mask(shape, (picture.shape[0], picture.shape[1]))
    tinted = picture.copy()
    tinted[mask] = (0.65 * picture[mask] + 0.35 * np.array(colour)).astype(np.uint8)
    edge = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    tinted[edge] = colour
    return tinted


def _around(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Twice the box, at least 60x40 pixels, inside the image."""
    height, width = size
    margin_x = max(30, (box[2] - box[0]) // 2)
    margin_y = max(20, (box[3] - box[1]) // 2)
    left, top = max(0, box[0] - margin_x), max(0, box[1] - margin_y)
    return left, top, min(width, box[2] + margin_x), min(height, box[3] + margin_y)


def _classes(audit: Audit) -> tuple[Part, ...]:
    """Counts of labels as they are written, and how high boxes are."""
    labels: Counter[str] = Counter()
    heights: dict[str, list[float]] = {}
    for one in audit.files:
        labels.update(one.labels)
        for name, height in one.box_heights:
            heights.setdefault(name, []).append(height)
    columns = (Column("label", "text"), Column("shapes", "count"))
    parts: list[Part] = [Table(columns, tuple(labels.most_common()), title="Shapes per label")]
    if heights:
        largest = max(max(values) for values in heights.values())
        edges = np.linspace(0, max(largest, 1.0), 21)
        series = tuple(
            Series(name, (edges[:-1] + edges[1:]) / 2, np.histogram(values, edges)[0].astype(float))
            for name, values in sorted(heights.items())
        )
        parts.append(Lines("Height of boxes", "pixels", "boxes", series))
    return tuple(parts)
