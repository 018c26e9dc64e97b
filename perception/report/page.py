"""Every HTML page of the project: `render(title, sections)` gives one self-contained file.

Nothing is loaded from elsewhere; pictures and charts are inside.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.report.parts import (
    Cell,
    Figures,
    Kind,
    Legend,
    Lines,
    Matrix,
    Panel,
    Part,
    Pictures,
    Section,
    Table,
    Text,
    show,
)
from perception.report.svg import COLORS, lines_svg, matrix_svg

PICTURE_WIDTH = 720  # wider ones are reduced


def render(
    title: str,
    sections: Iterable[Section],
    *,
    subtitle: str = "",
    facts: Mapping[str, object] | None = None,
) -> str:
    """The page as text; `facts` stand as name and value below the title."""
    from perception._version import __version__

    shown = []
    for number, section in enumerate(sections, 1):
        word = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
        shown.append(
            {
                "id": f"{number}-{word}",
                "title": section.title,
                "intro": section.intro,
                "parts": _parts(section.parts),
            }
        )
    return str(
        _template().render(
            title=title,
            subtitle=subtitle,
            facts=[(k, str(v)) for k, v in (facts or {}).items()],
            sections=shown,
            version=__version__,
        )
    )


def data_uri(panel: Panel) -> tuple[str, int, int]:
    """(address, width, height) of a picture as it stands in the page."""
    import cv2

    pixels = _reduced(panel.pixels, sharp=panel.sharp)
    suffix, options = (
        (".png", [cv2.IMWRITE_PNG_COMPRESSION, 9])
        if panel.sharp
        else (".webp", [cv2.IMWRITE_WEBP_QUALITY, 82])
    )
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    text = base64.b64encode(encoded.tobytes()).decode()
    return f"data:image/{suffix[1:]};base64,{text}", pixels.shape[1], pixels.shape[0]


# ---------------------------------------------------------------------------- helpers


@cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(
        (Path(__file__).parent / "base.html.j2").read_text(encoding="utf-8")
    )


def _parts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """What the template takes; charts that follow each other are joined in one row."""
    shown: list[dict[str, Any]] = []
    for part in parts:
        one = _part(part)
        if one["kind"] == "charts" and shown and shown[-1]["kind"] == "charts":
            shown[-1]["entries"] += one["entries"]
        else:
            shown.append(one)
    return shown


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Lines() | Matrix():
            return {"kind": "charts", "entries": [_chart(part)]}
        case Table():
            return _table(part)
        case Pictures():
            panels = [(panel.caption, *data_uri(panel)) for panel in part.panels]
            names = ("caption", "source", "width", "height")
            return {
                "kind": "pictures",
                "title": part.title,
                "note": part.note,
                "columns": max(part.columns, len(panels)),
                "wide": part.wide,
                "entries": [dict(zip(names, panel, strict=True)) for panel in panels],
            }
        case Figures():
            return {
                "kind": "figures",
                "note": part.note,
                "entries": [
                    {
                        "name": f.name,
                        "value": show(f.value, f.kind),
                        "unit": "%" if f.kind == "percent" and not math.isnan(f.value) else "",
                        "interval": ""
                        if f.low is None or f.high is None
                        else f"{show(f.low, f.kind)} to {show(f.high, f.kind)}",
                    }
                    for f in part.figures
                ],
            }
        case Legend():
            entries = [(name, "rgb({},{},{})".format(*color)) for name, color in part.entries]
            return {"kind": "legend", "entries": entries}
        case Text():
            return {"kind": "text", "text": part.text, "warning": part.warning, "code": part.code}


def _chart(part: Lines | Matrix) -> dict[str, Any]:
    from markupsafe import Markup

    if isinstance(part, Matrix):
        return {
            "title": part.title,
            "svg": Markup(matrix_svg(part)),
            "legend": [],
            "note": part.note,
            "wide": len(part.columns) > 8,
        }
    legend = [{"name": s.name, "color": i % COLORS} for i, s in enumerate(part.series) if s.name]
    return {
        "title": part.title,
        "svg": Markup(lines_svg(part)),
        "legend": legend,
        "note": part.note,
        "wide": False,
    }


def _table(table: Table) -> dict[str, Any]:
    rows = [
        [_cell(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    columns = [{"name": c.name, "kind": c.kind, "hint": c.hint} for c in table.columns]
    return {
        "kind": "table",
        "title": table.title,
        "note": table.note,
        "tall": table.tall,
        "columns": columns,
        "rows": rows,
    }


def _cell(value: Cell, kind: Kind) -> dict[str, Any]:
    """Text, value to sort by, and for percentages the length of the bar behind it."""
    number = isinstance(value, (int, float, np.number)) and math.isfinite(value)
    share = None
    if kind == "percent" and number:
        share = f"{min(max(float(value), 0.0), 1.0):.4f}"  # type: ignore[arg-type]
    return {
        "kind": kind,
        "text": show(value, kind),
        "share": share,
        "sort": value if number and kind != "text" else None,
    }


def _reduced(pixels: NDArray[np.uint8], *, sharp: bool) -> NDArray[np.uint8]:
    import cv2

    height, width = pixels.shape[:2]
    if width <= PICTURE_WIDTH:
        return np.ascontiguousarray(pixels)
    size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
    kind = cv2.INTER_NEAREST if sharp else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=kind), np.uint8)
