"""Dataset manifests: `datasets/<name>/dataset.yaml` says where a data set's files lie.

A layout is a table of path templates below the root, e.g. `image: "leftImg8bit/{part}/{city}/..."`.
Every `{field}` stands for a part of a name (never a slash); `{part}` comes from the split. An image
template without a suffix stands for .png, .jpg and .jpeg.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from perception.errors import PerceptionError
from perception.files import packaged, read_text, read_yaml
from perception.labels import LabelScheme, load_scheme
from perception.lists import texts
from perception.tasks import STANDARD, Kind, Task

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Split:
    """One split: a folder part, narrowed by a list of keys and by patterns of keys."""

    name: str
    part: str  # value of {part} in the layout, if it has one
    frames: int | None = None  # frames of the complete data set
    list: Path | None = None  # one key per line; relative: below the root
    include: tuple[str, ...] = ()  # shell patterns of keys; empty: all
    exclude: tuple[str, ...] = ()
    labelled: bool = True  # False: a benchmark's test part, whose labels are kept back


@dataclass(frozen=True)
class BoxClass:
    """One detected class: the type names it is made of, and those that are almost it."""

    name: str
    types: tuple[str, ...]  # positives
    neighbours: tuple[str, ...] = ()  # neither right nor wrong: ignored in training


@dataclass(frozen=True)
class TargetInfo:
    """What a label of one's own holds, and how its files say it."""

    task: Task  # named like its part of the layout
    labels: str = ""  # CLASSES: the label table, a packaged data set or a YAML file
    classes: tuple[str, ...] = ()  # MASK without files: the union of these of `semantic`
    scale: float = 1 / 256  # VALUES in PNGs: what 1 stands for
    invalid: float | None = 0  # VALUES in PNGs: the number of unknown pixels; None: all are known

    @cached_property
    def scheme(self) -> LabelScheme:
        """The label table of a target of the kind CLASSES."""
        return load_scheme(self.labels)


@dataclass(frozen=True)
class Manifest:
    """What a dataset.yaml says."""

    path: Path
    name: str
    title: str
    layout: Mapping[str, str]  # "image" and labels → path template
    key: str  # template of a frame's key
    splits: Mapping[str, Split]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # part → {name} by {number}
    reader: str = "perception.formats.read"  # module with `read(files, manifest) -> Frame`
    optional: frozenset[str] = frozenset()  # parts of the layout that a frame may lack
    road: tuple[str, ...] = ()  # classes whose union is the road label
    boxes: tuple[BoxClass, ...] = ()
    pseudo: Mapping[str, str] = field(default_factory=dict)  # task → the model that made its labels
    targets: Mapping[str, TargetInfo] = field(default_factory=dict)  # beside the usual labels
    licence: str = ""
    source: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)  # what its reader alone understands

    @cached_property
    def scheme(self) -> LabelScheme:
        """The label table of this file."""
        return load_scheme(self.path)

    @property
    def is_packaged(self) -> bool:
        """Whether it came with the project; its lists name complete data sets."""
        return self.path.resolve().is_relative_to(packaged("datasets").resolve())

    @property
    def tasks(self) -> Mapping[str, Task]:
        """What its labels can answer: the usual tasks, and those of `targets`."""
        return STANDARD | {name: info.task for name, info in self.targets.items()}

    @property
    def reader_module(self) -> ModuleType:
        """The module that reads this data set's frames."""
        where = f"{self.path}: reader"
        try:
            module = importlib.import_module(self.reader)
        except (ImportError, TypeError, ValueError) as error:
            raise PerceptionError(
                where, self.reader, "an importable module", f"Python says: {error}."
            ) from error
        if not callable(getattr(module, "read", None)):
            raise PerceptionError(where, self.reader, "a module with `read(files, manifest)`")
        return module

    def split(self, name: str) -> Split:
        """A split of this data set, or any list file (`….txt`, one key per line) as one."""
        if name in self.splits:
            return self.splits[name]
        if name.endswith(".txt"):
            part = next(iter(self.splits.values())).part
            return Split(name, part, list=Path(name))
        raise PerceptionError(
            f"{self.name}: split",
            name,
            f"one of {', '.join(self.splits)}",
            "Give one of these, or a .txt file with one frame name per line.",
        )

    def field_values(self, found: Mapping[str, str], part: str) -> dict[str, str]:
        """The fields of a path with its part and, where frames are numbered, its `{name}`.

        Raises:
            PerceptionError: a number that the list of names does not have.
        """
        values = {**found, "part": part}
        if part in self.names:
            names, number = self.names[part], found.get("number", "")
            if not number.isdecimal() or not 1 <= int(number) <= len(names):
                raise PerceptionError(
                    f"{self.name}: {part}/{number}",
                    "no name",
                    f"a number from 1 to {len(names)}, the lines of its list",
                    "Move that file away: what it shows is not known.",
                )
            values["name"] = names[int(number) - 1]
        return values

    def box_classes(self, names: tuple[str, ...] | None = None) -> tuple[BoxClass, ...]:
        """The named box classes in that order; all of them for None."""
        known = {c.name: c for c in self.boxes}
        for name in names or ():
            if name not in known:
                raise PerceptionError(
                    f"{self.path}: boxes",
                    f"no class {name}",
                    f"one of {', '.join(known) or 'none: no boxes here'}",
                    "Add it to the dataset.yaml with the type names it is made of.",
                )
        return tuple(known[n] for n in names) if names is not None else self.boxes


_KEYS = {f for f in Manifest.__dataclass_fields__ if f != "path"} | {"labels"}


def load_manifest(name: str | Path) -> Manifest:
    """The manifest of a packaged data set ("camvid") or of a dataset.yaml anywhere.

    Raises:
        PerceptionError: no such data set; a key that is unknown, missing or of another kind.
    """
    path = _find(str(name))
    content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise _bad(path, type(content).__name__, "a table with name, layout, key, splits")
    for needed in ("name", "layout", "key", "splits"):
        if content.get(needed) is None:
            raise _bad(f"{path}: {needed}", "nothing", "a value")
    if unknown := set(map(str, content)) - _KEYS:
        raise _bad(f"{path}: {sorted(unknown)[0]}", "an unknown key", f"one of {sorted(_KEYS)}")
    layout = _layout(path, content)
    splits = {k: _split(path, k, v) for k, v in _table(path, content, "splits").items()}
    boxes = tuple(_box_class(path, k, v) for k, v in _table(path, content, "boxes").items())
    if not splits:
        raise _bad(f"{path}: splits", "nothing", "at least one, e.g. all: {}")
    return Manifest(
        path=path,
        name=_text(path, content, "name"),
        title=_text(path, content, "title", content["name"]),
        layout=layout,
        key=_key(path, content, layout),
        splits=splits,
        names={k: _names(path, str(v)) for k, v in _table(path, content, "names").items()},
        reader=_text(path, content, "reader", "perception.formats.read"),
        optional=_parts(path, content, layout),
        road=texts(content.get("road"), f"{path}: road"),
        boxes=boxes,
        pseudo={k: str(v) for k, v in _table(path, content, "pseudo").items()},
        targets={k: _target(path, k, v) for k, v in _table(path, content, "targets").items()},
        licence=_text(path, content, "licence", ""),
        source=_text(path, content, "source", ""),
        extra=_table(path, content, "extra"),
    )


def template_fields(template: str) -> tuple[str, ...]:
    """Names of the fields of a path template, in order, each once."""
    return tuple(dict.fromkeys(_FIELD.findall(template)))


def template_regex(template: str) -> re.Pattern[str]:
    """Matches a whole path or key; a repeated field must repeat its text."""
    pieces, seen, end = [], set(), 0
    for match in _FIELD.finditer(template):
        pieces.append(re.escape(template[end : match.start()]))
        name, end = match.group(1), match.end()
        pieces.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)")
        seen.add(name)
    return re.compile("".join(pieces) + re.escape(template[end:]))


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    path = packaged("datasets", name, "dataset.yaml")
    if path.is_file():
        return path
    known = sorted(p.parent.name for p in packaged("datasets").glob("*/dataset.yaml"))
    raise PerceptionError(
        f"data set {name}",
        "no such packaged data set",
        f"one of {', '.join(known)}",
        "Give one of these, or the path of a dataset.yaml (docs/add_a_dataset.md).",
    )


def _table(path: Path, content: Mapping[Any, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _bad(f"{path}: {key}", repr(value), "a table")
    return {str(name): row for name, row in value.items()}


def _text(path: Path, content: Mapping[Any, Any], key: str, default: Any = None) -> str:
    value = content.get(key, default)
    if isinstance(value, (Mapping, list)):
        raise _bad(f"{path}: {key}", repr(value), "a text")
    return str(value)


def _layout(path: Path, content: Mapping[Any, Any]) -> dict[str, str]:
    """Templates of paths below the root; labels have no other fields than the image."""
    layout = _table(path, content, "layout")
    if "image" not in layout:
        raise _bad(f"{path}: layout.image", "nothing", "a path template")
    for name, template in layout.items():
        where = f"{path}: layout.{name}"
        if not isinstance(template, str) or not template:
            raise _bad(where, repr(template), "a path template, e.g. images/{frame}.png")
        _check_template(where, template)
        if template.startswith("/"):
            raise _bad(where, template, "a path below the root of the data set")
    _check_fields(path, "layout", layout, _known_fields(layout, content))
    return layout


def _key(path: Path, content: Mapping[Any, Any], layout: Mapping[str, str]) -> str:
    key = _text(path, content, "key")
    if not key:
        raise _bad(f"{path}: key", "nothing", "a template, e.g. {frame}")
    _check_template(f"{path}: key", key)
    _check_fields(path, "", {"key": key}, _known_fields(layout, content))
    return key


def _check_template(where: str, template: str) -> None:
    """Only {fields} with a name: no format specification, no brace without its partner."""
    rest = _FIELD.sub("", template)
    odd = [name for name in template_fields(template) if not name.isidentifier()]
    if "{" in rest or "}" in rest or odd:
        raise _bad(where, template, "fields like {frame}")


def _known_fields(layout: Mapping[str, str], content: Mapping[Any, Any]) -> set[str]:
    names = {"name"} if content.get("names") else set()
    return {*template_fields(layout["image"]), "part"} | names


def _check_fields(path: Path, place: str, templates: Mapping[str, str], known: set[str]) -> None:
    for name, template in templates.items():
        for given in template_fields(template):
            if given not in known:
                where = f"{path}: {place}{'.' * bool(place)}{name}"
                fields = ", ".join(f"{{{f}}}" for f in sorted(known))
                raise _bad(where, f"{{{given}}}", f"a field of the image's path: {fields}")


def _parts(path: Path, content: Mapping[Any, Any], layout: Mapping[str, str]) -> frozenset[str]:
    """Parts of the layout that frames may lack."""
    parts = texts(content.get("optional"), f"{path}: optional")
    for part in parts:
        if part not in layout:
            raise _bad(f"{path}: optional", part, f"parts of the layout: {', '.join(layout)}")
    return frozenset(parts)


def _split(path: Path, name: str, row: Any) -> Split:
    allowed = set(Split.__dataclass_fields__) - {"name"}
    if not isinstance(row, Mapping) or not set(row) <= allowed:
        raise _bad(f"{path}: splits.{name}", str(row), f"a table with any of {sorted(allowed)}")
    where, frames = f"{path}: splits.{name}", row.get("frames")
    if frames is not None and (not isinstance(frames, int) or isinstance(frames, bool)):
        raise _bad(f"{where}.frames", repr(frames), "a whole number")
    if not isinstance(row.get("labelled", True), bool):
        raise _bad(f"{where}.labelled", repr(row["labelled"]), "true or false")
    return Split(
        name,
        _text(path, row, "part", ""),
        frames,
        _list(path, str(row["list"])) if row.get("list") else None,
        texts(row.get("include"), f"{where}.include"),
        texts(row.get("exclude"), f"{where}.exclude"),
        row.get("labelled", True),
    )


def _names(path: Path, name: str) -> tuple[str, ...]:
    """The lines of a list beside the manifest."""
    lines = read_text(path.parent / name).split()
    if len(set(lines)) < len(lines):
        raise _bad(f"{path.parent / name}", "a name twice", "every name once")
    return tuple(lines)


def _list(path: Path, name: str) -> Path:
    """A list beside the manifest; else it is one of the data set, below its root."""
    beside = path.parent / name
    return beside if beside.is_file() else Path(name)


def _box_class(path: Path, name: str, row: Any) -> BoxClass:
    if not isinstance(row, Mapping) or not {"types"} <= set(row) <= {"types", "neighbours"}:
        raise _bad(f"{path}: boxes.{name}", str(row), "types: [...] and neighbours: [...]")
    where = f"{path}: boxes.{name}"
    types = texts(row["types"], f"{where}.types")
    return BoxClass(name, types, texts(row.get("neighbours"), f"{where}.neighbours"))


_TARGET_KEYS = ("kind", "unit", "labels", "classes", "scale", "invalid")


def _target(path: Path, name: str, row: Any) -> TargetInfo:
    where, allowed = f"{path}: targets.{name}", set(_TARGET_KEYS)
    if not isinstance(row, Mapping) or not {"kind"} <= set(row) <= allowed:
        raise _bad(where, str(row), f"a table with kind and any of {sorted(allowed)}")
    kinds = [kind.value for kind in (Kind.MASK, Kind.CLASSES, Kind.VALUES)]
    if row["kind"] not in kinds:
        raise _bad(f"{where}.kind", str(row["kind"]), f"one of {', '.join(kinds)}")
    kind = Kind(row["kind"])
    if (kind is Kind.CLASSES) != ("labels" in row):
        raise _bad(
            where,
            f"{kind} {'with' if 'labels' in row else 'without'} labels",
            "labels for the kind classes only",
        )
    numbers = {k: row[k] for k in ("scale", "invalid") if row.get(k) is not None}
    if any(not isinstance(v, int | float) for v in numbers.values()) or row.get("scale", 1) <= 0:
        raise _bad(where, str(numbers), "numbers, scale above 0")
    labels = str(row.get("labels", ""))
    beside = path.parent / labels
    return TargetInfo(
        Task(name, kind, str(row.get("unit", ""))),
        str(beside) if labels and beside.is_file() else labels,
        texts(row.get("classes"), f"{where}.classes"),
        float(row.get("scale", 1 / 256)),
        row.get("invalid", 0),
    )


def _bad(where: object, found: str, expected: str) -> PerceptionError:
    return PerceptionError(where, found, expected, "See docs/add_a_dataset.md.")
