"""Classes of one's own: named on the command line, or by the label table of a dataset.yaml.

Labels keep their synonyms: where a class is one of the built-in table, or a synonym of one, every
spelling of it counts. `ignore` and `_background_` mean what they always mean.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perception.annotation.classes import LabelTable, Meaning, city_scheme, normalise
from perception.errors import UsageError
from perception.files import read_text
from perception.labels import IGNORE_INDEX, LabelClass, LabelScheme, load_scheme

KEPT = ("unlabeled", "background")  # labels that are no classes and are always known


def class_names(text: str) -> tuple[str, ...]:
    """The names of "car,person", of a .txt file with one per line, or of a dataset.yaml.

    Raises:
        UsageError: no name, or one twice.
    """
    where = "--classes"
    if text.lower().endswith(".txt"):
        where = text
        names = [line.split("#")[0].strip() for line in read_text(Path(text)).splitlines()]
    elif text.lower().endswith((".yaml", ".yml")):
        names = list(load_scheme(text).names)
    else:
        names = [name.strip() for name in text.split(",")]
    names = [name for name in names if name]
    spelt = [normalise(name) for name in names]
    if not names:
        raise UsageError(where, "no name", "names of classes, e.g. car,person")
    if twice := next((name for name in names if spelt.count(normalise(name)) > 1), None):
        raise UsageError(where, f"{twice} twice", "every class once")
    return tuple(names)


def own_table(names: Sequence[str], default: LabelTable, *, only: bool) -> LabelTable:
    """The table of labels whose countable classes are `names`, in this order.

    only: labels of other classes are unknown; otherwise they are known and have no boxes.
    """
    exact = {normalise(name): name for name in names}
    owners: dict[str, str] = {}  # class of the built-in table → own class
    for text, name in exact.items():
        known = default.meanings.get(text)
        if known is not None and (known.name not in owners or normalise(known.name) == text):
            owners[known.name] = name
    meanings: dict[str, Meaning] = {}
    for text, meaning in default.meanings.items():
        owner = exact.get(text) or owners.get(meaning.name)
        if owner is not None:
            meanings[text] = replace(meaning, name=owner, thing=True)
        elif meaning.name in KEPT:
            meanings[text] = meaning
        elif not only:
            meanings[text] = replace(meaning, thing=False)
    for text, name in exact.items():
        meanings.setdefault(text, Meaning(name, thing=True))
    return LabelTable(meanings, default.unlabeled, tuple(names))


def own_scheme(names: Sequence[str], name: str = "own") -> LabelScheme:
    """A label table with ids from 0 in the order of `names`; known classes keep their colours."""
    if len(names) > IGNORE_INDEX:
        raise UsageError("--classes", f"{len(names)} classes", f"at most {IGNORE_INDEX}")
    known = {normalise(row.name): row.color for row in city_scheme().classes}
    known["background"] = (0, 0, 0)
    rows = []
    for number, text in enumerate(names):
        hue = colorsys.hsv_to_rgb(number * 0.618 % 1, 0.65, 0.9)
        red, green, blue = (round(255 * value) for value in hue)
        colour = known.get(normalise(text), (red, green, blue))
        rows.append(LabelClass(text, number, number, colour))
    return LabelScheme(name, tuple(rows))
