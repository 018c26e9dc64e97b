"""What labelme is given so that people draw what the converter expects: labels, flags, colours.

The files in `annotation/` are generated from the label table (`scripts/make_label_files.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from perception.annotation.attributes import OCCLUSION_FLAGS
from perception.annotation.classes import Meaning, city_scheme, default_table, is_thing
from perception.files import packaged

SCHEMES = ("all", "kitti_road", "kitti_object", "cityscapes")
# shown instead of the canonical name: what annotators look for
SHOWN = {"unlabeled": "ignore", "background": "_background_"}
# colours of classes that are not in the Cityscapes table, or black there
OWN_COLOURS = {
    "lane": (255, 0, 255), "lane marking": (255, 255, 255), "van": (0, 40, 180),
    "person sitting": (255, 90, 120), "cyclist": (255, 100, 0), "misc": (160, 110, 40),
    "unlabeled": (90, 90, 90), "background": (30, 30, 30), "ego vehicle": (60, 60, 60),
    "rectification border": (50, 50, 50), "out of roi": (40, 40, 40), "static": (110, 110, 110),
}  # fmt: skip
IMAGE_FLAGS = ("checked", "unsure")
_BOX_FLAGS = (*(OCCLUSION_FLAGS[level][0] for level in (1, 2, 3)), "truncated", "crowd")


def label_names(scheme: str) -> tuple[str, ...]:
    """The labels of one of `SCHEMES`, as they are shown."""
    wanted: Callable[[Meaning], bool] = {
        "all": lambda _: True,
        "kitti_road": lambda m: m.road != "nonroad" or m.name in ("sidewalk", "background"),
        "kitti_object": lambda m: m.kitti is not None,
        "cityscapes": lambda m: m.name in city_scheme().by_name,
    }[scheme]
    return tuple(SHOWN.get(m.name, m.name) for m in _meanings() if wanted(m))


def label_files() -> dict[str, str]:
    """Name in `annotation/` → text of every generated file."""
    files = {
        file_name(scheme): "".join(f"{name}\n" for name in label_names(scheme))
        for scheme in SCHEMES
    }
    things = "|".join(sorted(SHOWN.get(m.name, m.name) for m in _meanings() if is_thing(m)))
    files["flags.yaml"] = (
        "# Flags of a shape, by a pattern of its label (labelme --labelflags).\n"
        f'"^({things})$": {json.dumps(list(_BOX_FLAGS))}\n'
        '".*": ["ignore"]\n'
    )
    files["image_flags.txt"] = "".join(f"{name}\n" for name in IMAGE_FLAGS)
    rows = "".join(
        f"  {json.dumps(SHOWN.get(m.name, m.name))}: {list(_colour(m))}\n" for m in _meanings()
    )
    files["labelme.yaml"] = (
        "# Colours of the labels (labelme --config).\n"
        f"shape_color: manual\ndefault_shape_color: [255, 255, 0]\nlabel_colors:\n{rows}"
    )
    return files


def file_name(scheme: str) -> str:
    """Name of the label list of a scheme in `annotation/`."""
    return "labels.txt" if scheme == "all" else f"labels_{scheme}.txt"


def labelme_words(
    program: str, folder: Path, scheme: str, classes: tuple[str, ...] = ()
) -> list[str]:
    """The command line that opens `folder` in labelme with the labels of a scheme, or own ones."""

    def path(name: str) -> str:
        return str(packaged("annotation", name))

    return [
        program,
        str(folder),
        "--config",
        path("labelme.yaml"),
        "--labels",
        ",".join((*classes, "ignore", "_background_")) if classes else path(file_name(scheme)),
        "--flags",
        path("image_flags.txt"),
        "--labelflags",
        path("flags.yaml"),
        "--validatelabel",
        "exact",
        "--nosortlabels",
    ]


def _meanings() -> list[Meaning]:
    """Every class of the table once, in its order."""
    return list({m.name: m for m in default_table().meanings.values()}.values())


def _colour(meaning: Meaning) -> tuple[int, int, int]:
    return OWN_COLOURS.get(meaning.name, city_scheme().by_name[meaning.cityscapes].color)
