"""What the labels of a drawn shape mean in each target: the label table and users' label maps.

The default table is `annotation/classes.yaml`. A label is looked up after normalising; a trailing
"group" makes a crowd, a trailing number an object's id (labelme before 4.0 had no other way).
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from perception.errors import UsageError
from perception.files import packaged, read_json, read_yaml
from perception.labels import LabelScheme, load_scheme

ROAD = ("road", "lane", "nonroad", "ignore")
KITTI = (
    "Car",
    "Van",
    "Truck",
    "Pedestrian",
    "Person_sitting",
    "Cyclist",
    "Tram",
    "Misc",
    "DontCare",
)


@dataclass(frozen=True)
class Meaning:
    """One class of the label table."""

    name: str  # canonical label
    road: str = "nonroad"  # road, lane, nonroad or ignore
    kitti: str | None = None  # type of KITTI object; None: no box
    cityscapes: str = "unlabeled"
    priority: float = 25
    thing: bool | None = (
        None  # whether it is countable; None: by its KITTI type or Cityscapes class
    )


@dataclass(frozen=True)
class Resolved:
    """What one label text says."""

    meaning: Meaning
    group: str | None = None  # from a trailing number: "car-1"
    crowd: bool = False  # from a trailing "group": "cargroup"


@dataclass(frozen=True)
class LabelTable:
    """Normalised label → meaning."""

    meanings: Mapping[str, Meaning]
    unlabeled: Meaning  # of ignored shapes
    chosen: tuple[str, ...] = ()  # the countable classes that were asked for; empty: all

    def resolve(self, label: str) -> Resolved | None:
        """The meaning of a label as a person wrote it; None: unknown."""
        return self._resolve(normalise(label))

    def suggest(self, label: str) -> str | None:
        """The known label that looks most like an unknown one."""
        near = difflib.get_close_matches(normalise(label)[:80], self.meanings, n=1, cutoff=0.7)
        return near[0] if near else None

    @cached_property
    def things(self) -> tuple[str, ...]:
        """Names of the classes that have boxes or instances, in the order of the table."""
        found = dict.fromkeys(m.name for m in self.meanings.values() if is_thing(m))
        return (*self.chosen, *(name for name in found if name not in self.chosen))

    def _resolve(self, text: str) -> Resolved | None:
        if text in self.meanings:
            return Resolved(self.meanings[text])
        if text.endswith("group") and (rest := text[:-5].strip()):
            inner = self._resolve(rest)
            return replace(inner, crowd=True) if inner else None
        if match := re.fullmatch(r"(.+) ([0-9]+)", text, re.DOTALL):
            inner = self._resolve(match[1])
            return replace(inner, group=inner.group or match[2]) if inner else None
        return None


def is_thing(meaning: Meaning) -> bool:
    """True for a class of countable objects."""
    if meaning.thing is not None:
        return meaning.thing
    if meaning.kitti is not None:
        return meaning.kitti != "DontCare"
    return city_scheme().by_name[meaning.cityscapes].has_instances


def normalise(label: str) -> str:
    """NFKC, no case, and every run of spaces, _ and - one space, none at the ends."""
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFKC", label).casefold()).strip()


@cache
def city_scheme() -> LabelScheme:
    """The 35 Cityscapes classes."""
    return load_scheme("cityscapes")


@cache
def default_table() -> LabelTable:
    """The packaged table."""
    meanings = {}
    for name, row in read_yaml(packaged("annotation", "classes.yaml"))["labels"].items():
        synonyms = row.pop("synonyms")
        for text in (name, *synonyms):
            meanings[normalise(text)] = Meaning(name, **row)
    return LabelTable(meanings, meanings["unlabeled"])


def load_table(path: Path | None, base: LabelTable | None = None) -> LabelTable:
    """The table `base` (default: the packaged one), with a label map (JSON or YAML) over it.

    Raises:
        UsageError: the map cannot be read or says something impossible.
    """
    default = base or default_table()
    if path is None:
        return default
    content = _read(path)
    if not isinstance(content, dict) or not set(content) <= {"extends", "labels"}:
        raise _wrong(path, "", content, "an object with `labels` and, if wanted, `extends`")
    if content.get("extends", "default") not in ("default", None):
        raise _wrong(path, "extends", content["extends"], '"default" or null')
    rows = content.get("labels", {})
    if not isinstance(rows, dict):
        raise _wrong(path, "labels", rows, "an object of labels")
    own = {}
    for label, row in rows.items():
        if not isinstance(label, str):
            raise _wrong(path, "labels", label, "a label in quotes")
        own[normalise(label)] = _meaning(path, label, row, default)
    kept = default.meanings if content.get("extends", "default") == "default" else {}
    return LabelTable({**kept, **own}, default.unlabeled, default.chosen)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise _wrong(path, "", "no such file", "a label map")
    try:
        return read_json(path) if path.suffix.lower() == ".json" else read_yaml(path)
    except UsageError:
        raise
    except Exception as error:  # a map is a setting: what is wrong with it is wrong usage
        raise _wrong(path, "", str(error), "JSON or YAML") from None


def _meaning(path: Path, label: str, row: Any, default: LabelTable) -> Meaning:
    """One entry of a map: a text is an alias, overrides make a class of its own."""
    where = f"labels.{label}"
    row = {"as": row} if isinstance(row, str) else row
    keys = {"as", "road", "kitti", "cityscapes", "priority"}
    if not isinstance(row, dict) or not set(row) <= keys:
        raise _wrong(path, where, row, f"text, or an object with keys of {sorted(keys)}")
    meaning = Meaning(normalise(label))
    if "as" in row:
        like = row["as"]
        if not isinstance(like, str) or normalise(like) not in default.meanings:
            near = default.suggest(like) if isinstance(like, str) else None
            hint = (
                f"a label of the default table (did you mean {near}?)"
                if near
                else ("a label of the default table")
            )
            raise _wrong(path, f"{where}.as", like, hint)
        meaning = default.meanings[normalise(like)]
        if len(row) == 1:
            return meaning
        meaning = replace(meaning, name=normalise(label))
    changes = {key: value for key, value in row.items() if key != "as"}
    allowed: dict[str, tuple[Any, ...]] = {
        "road": ROAD,
        "kitti": (*KITTI, None),
        "cityscapes": tuple(city_scheme().by_name),
    }
    for key, value in changes.items():
        if key == "priority":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                raise _wrong(path, f"{where}.priority", value, "a number")
        elif value not in allowed[key] or isinstance(value, bool):
            names = ", ".join("null" if name is None else str(name) for name in allowed[key])
            raise _wrong(path, f"{where}.{key}", value, f"one of {names}")
    return replace(meaning, **changes)


def _wrong(path: Path, key: str, found: object, expected: str) -> UsageError:
    return UsageError(f"{path}: {key}" if key else path, repr(found)[:200], expected)
