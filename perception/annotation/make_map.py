"""A label map made from the labels in a folder, to be edited."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from perception.annotation.classes import default_table
from perception.annotation.interfaces import Settings
from perception.annotation.sources import labelme as labelme_source
from perception.files import write_text
from perception.formats import labelme
from perception.formats.labelme import escape_surrogates
from perception.formats.problems import RefusedError


@dataclass(frozen=True)
class MapSummary:
    """What `write_map` found."""

    labels: int
    unknown: tuple[str, ...]
    unreadable: tuple[str, ...]  # one line for each file that could not be read


def write_map(src: Path, path: Path) -> MapSummary:
    """Writes a label map (JSON, or YAML with counts as comments) of the labelme files in `src`.

    A known label stands for its class, an unknown one for `ignore` until it is edited.
    """
    counts: Counter[str] = Counter()
    unreadable = []
    for item in labelme_source.find(src, Settings(default_table())).items:
        try:
            shapes = labelme.read(item.path).shapes
        except RefusedError as error:
            unreadable.append(f"{item.file}: {error}")
            continue
        counts.update(
            raw["label"]
            for raw in shapes
            if isinstance(raw, dict) and isinstance(raw.get("label"), str)
        )
    rows = {}
    unknown = []
    for label in sorted(counts):
        resolved = default_table().resolve(label)
        rows[label] = resolved.meaning.name if resolved else "ignore"
        if resolved is None:
            unknown.append(label)
    if path.suffix.lower() == ".json":
        text = json.dumps({"extends": "default", "labels": rows}, indent=2, ensure_ascii=False)
        write_text(path, escape_surrogates(text) + "\n")
    else:
        write_text(path, _yaml(rows, counts, unknown))
    return MapSummary(len(rows), tuple(unknown), tuple(unreadable))


def _yaml(rows: dict[str, str], counts: Counter[str], unknown: list[str]) -> str:
    lines = [
        "# For `perception convert labelme --label-map`: your label: the class to treat it as.",
        "# Or an object: {as: car, road: road|lane|nonroad|ignore, kitti: Misc, cityscapes: car,",
        "# priority: 45}. Labels marked unknown are ignored until you name their class.",
        "extends: default",
        "labels:" if rows else "labels: {}",
    ]
    for label, name in rows.items():
        note = f"{counts[label]} shapes"
        if label in unknown:
            near = default_table().suggest(label)
            note = f"unknown, {note}" + (f"; did you mean {near}?" if near else "")
        quoted = escape_surrogates(json.dumps(label, ensure_ascii=False))
        lines.append(f"  {quoted}: {name}  # {note}")
    return "\n".join(lines) + "\n"
