"""Label schemes: what the numbers in a label image mean, and tables that merge classes.

A scheme is a table of classes in `datasets/<name>/dataset.yaml` (key `labels`); class counts come
from it everywhere. *ids* are what label images store, *train ids* are 0..K-1 for the classes that
are trained and scored, and 255 (`IGNORE_INDEX`) for all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import packaged, read_yaml

IGNORE_INDEX = 255


@dataclass(frozen=True)
class LabelClass:
    """One row of a label table."""

    name: str
    id: int  # value in label images; -1: never stored in one
    train_id: int  # 0..K-1, or 255: not trained, not scored
    color: tuple[int, int, int]  # RGB
    category: str = ""
    category_id: int = IGNORE_INDEX  # 255: the category is not scored
    has_instances: bool = False
    ignore: bool = False  # ignored in evaluation


@dataclass(frozen=True)
class LabelScheme:
    """A named table of classes."""

    name: str
    classes: tuple[LabelClass, ...]

    @cached_property
    def by_name(self) -> dict[str, LabelClass]:
        """Classes by their name."""
        return {c.name: c for c in self.classes}

    @cached_property
    def trained(self) -> tuple[LabelClass, ...]:
        """The K trained classes, in order of train id."""
        rows = [c for c in self.classes if c.train_id not in (IGNORE_INDEX, -1)]
        first = {c.train_id: c for c in reversed(rows)}
        return tuple(first[i] for i in sorted(first))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trained classes, in order of train id."""
        return tuple(c.name for c in self.trained)

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(K, 3) RGB of the trained classes."""
        return np.array([c.color for c in self.trained], np.uint8).reshape(-1, 3)

    @cached_property
    def id_to_train(self) -> NDArray[np.uint8]:
        """(256,) look-up table from id to train id; unknown ids give 255."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        for c in self.classes:
            if 0 <= c.id < 256:
                table[c.id] = c.train_id if 0 <= c.train_id < IGNORE_INDEX else IGNORE_INDEX
        return table

    @cached_property
    def train_to_id(self) -> NDArray[np.uint8]:
        """(256,) look-up table from train id to id; 255 where there is none."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        for c in self.trained:
            table[c.train_id] = c.id
        return table

    @cached_property
    def known_ids(self) -> NDArray[np.bool_]:
        """(256,) True for ids that a label image of this scheme may hold."""
        known = np.zeros(256, bool)
        known[[c.id for c in self.classes if 0 <= c.id < 256]] = True
        return known


@dataclass(frozen=True)
class LabelMap:
    """A table source scheme → target scheme, by train id ("simplified labels")."""

    source: LabelScheme
    target: LabelScheme
    table: NDArray[np.uint8]  # (256,) source train id → target train id or 255

    def __call__(self, train_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Merged train ids, same shape."""
        return self.table[train_ids]

    def merge_confusion(self, confusion: NDArray[np.int64]) -> NDArray[np.int64]:
        """(K', K') counts of the merged scheme from (K, K) counts; ignored rows are dropped."""
        groups = self.table[: len(confusion)]
        classes = len(self.target.trained)
        if (groups == IGNORE_INDEX).any() and confusion[groups != IGNORE_INDEX][
            :, groups == IGNORE_INDEX
        ].any():
            raise ValueError(
                "predictions of a class that the target scheme ignores cannot be merged"
            )
        onehot = (groups[:, None] == np.arange(classes)[None, :]).astype(np.int64)
        result: NDArray[np.int64] = onehot.T @ confusion @ onehot
        return result


def load_scheme(name: str | Path) -> LabelScheme:
    """The label scheme of a packaged dataset ("cityscapes"), or of a YAML file with `labels:`.

    `labels` is a list of classes, or the name of the dataset whose table it shares.
    """
    path = _yaml_of(name, "dataset.yaml")
    content = read_yaml(path)
    rows = content.get("labels") if isinstance(content, Mapping) else None
    if isinstance(rows, str):
        return load_scheme(rows)
    if not isinstance(rows, list):
        raise PerceptionError(
            f"{path}: labels",
            type(rows).__name__,
            "a list of classes",
            "See docs/add_a_dataset.md.",
        )
    classes = tuple(_class(path, row) for row in rows)
    _check_table(path, classes)
    return LabelScheme(str(content.get("name", path.stem)), classes)


def load_map(source: LabelScheme, name: str | Path) -> LabelMap:
    """A packaged merge (`datasets/merges/<name>.yaml`) or a YAML file, for one source scheme.

    The file holds the target's `labels`, and `map: {<source scheme>: {source class: target class
    or ignore}}`, which must name every trained class of the source.
    """
    path = (
        Path(name)
        if str(name).endswith((".yaml", ".yml"))
        else packaged("datasets", "merges", f"{name}.yaml")
    )
    target = load_scheme(path)
    rows = (read_yaml(path).get("map") or {}).get(source.name)
    if not isinstance(rows, Mapping):
        raise PerceptionError(
            f"{path}: map.{source.name}",
            "nothing",
            "a table of class names",
            f"Add one line for each of: {', '.join(source.names)}.",
        )
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for c in source.trained:
        into = rows.get(c.name)
        if into is None or (into != "ignore" and into not in target.by_name):
            raise PerceptionError(
                f"{path}: map.{source.name}.{c.name}",
                str(into),
                f"ignore or one of {', '.join(target.names)}",
                "Complete the table.",
            )
        if into != "ignore":
            table[c.train_id] = target.by_name[into].train_id
    return LabelMap(source, target, table)


def _yaml_of(name: str | Path, default: str) -> Path:
    """A path as it is; a bare name as the packaged dataset of that name."""
    if str(name).endswith((".yaml", ".yml")):
        return Path(name)
    path = packaged("datasets", str(name), default)
    if not path.is_file():
        known = sorted(p.parent.name for p in packaged("datasets").glob("*/dataset.yaml"))
        raise PerceptionError(
            f"dataset {name}",
            "no such packaged dataset",
            f"one of {', '.join(known)}",
            "Give one of these, or the path of a dataset.yaml.",
        )
    return path


def _class(path: Path, row: Any) -> LabelClass:
    """One row of `labels:`; unknown and missing keys are errors that name them."""
    allowed = set(LabelClass.__dataclass_fields__)
    if not isinstance(row, Mapping) or not {"name", "id", "color"} <= set(row) <= allowed:
        raise PerceptionError(
            f"{path}: labels",
            str(row),
            f"a table with keys of {sorted(allowed)}",
            "name, id and color are needed.",
        )
    fields = dict(row)
    fields.setdefault("train_id", fields["id"])
    where = f"{path}: labels, class {fields['name']}"
    for key in ("id", "train_id", "category_id"):
        value = fields.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise PerceptionError(f"{where}: {key}", repr(value), "a whole number")
    color = fields["color"]
    good = isinstance(color, (list, tuple)) and len(color) == 3
    if not good or not all(isinstance(c, int) and 0 <= c <= 255 for c in color):
        raise PerceptionError(f"{where}: color", str(color), "[red, green, blue] from 0 to 255")
    fields["color"] = tuple(color)
    fields["name"] = str(fields["name"])
    return LabelClass(**fields)


def _check_table(path: Path, classes: tuple[LabelClass, ...]) -> None:
    """Raises a `PerceptionError` for a table in which numbers or names are double or missing."""
    where = f"{path}: labels"
    for c in classes:
        if c.id > 255:
            raise PerceptionError(f"{where}, class {c.name}: id", str(c.id), "at most 255")
    stored = [c for c in classes if c.id >= 0]
    trained = [c for c in classes if c.train_id not in (IGNORE_INDEX, -1)]
    for field, rows in (("name", classes), ("id", stored), ("train_id", trained)):
        first: dict[object, LabelClass] = {}
        for c in rows:
            value = getattr(c, field)
            if (other := first.setdefault(value, c)) is not c:
                found = f"{field} {value} twice: {other.name} and {c.name}"
                raise PerceptionError(where, found, f"every {field} once")
    numbers = sorted(c.train_id for c in trained)
    if numbers != list(range(len(numbers))):
        raise PerceptionError(
            where,
            f"train ids {', '.join(map(str, numbers))}",
            f"0 to {len(numbers) - 1} without gaps",
            "Number the trained classes anew; 255 is for those that are not trained.",
        )
