"""Lists in YAML files and settings: a single text or number is a list of one.

Python takes a text apart into letters wherever a sequence is meant: `tuple("uu_*")` holds a "*",
which matches everything. Every list that a person writes is read here instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perception.errors import PerceptionError


def texts(value: object, where: object) -> tuple[str, ...]:
    """The texts of a list; a single text is a list of one, nothing (null) an empty list.

    Raises:
        PerceptionError: `where` holds something else, e.g. a table or a list of lists.
    """
    found = values(value, where)
    for item in found:
        if isinstance(item, bool) or not isinstance(item, (str, int, float)):
            raise PerceptionError(where, f"{item!r} in a list", "texts, e.g. [car, pedestrian]")
    return tuple(map(str, found))


def values(value: object, where: object) -> tuple[Any, ...]:
    """The items of a list; a single text or number is a list of one, null an empty list.

    Raises:
        PerceptionError: `where` holds a table or a truth value.
    """
    if value is None:
        return ()
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, (Mapping, bool)) or not isinstance(value, Iterable):
        kind = "a table" if isinstance(value, Mapping) else repr(value)
        raise PerceptionError(where, kind, "a list, e.g. [a, b]")
    return tuple(value)
