"""Tasks: names that work everywhere, and one row for each kind in every table by kind."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import perception
from perception.errors import PerceptionError
from perception.formats.contents import counted
from perception.formats.manifest import load_manifest
from perception.structures import ValuesLabel
from perception.tasks import Kind, Task

KINDS = {Kind.MASK, Kind.CLASSES, Kind.VALUES, Kind.BOXES}  # INSTANCES has no head yet
ROOT = Path(perception.__file__).parent
FEWER = {
    "perception.formats.read._OF_KIND": KINDS - {Kind.BOXES}
}  # boxes have formats of their own


def tables():
    """Every module-level table by kind, by its name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        if "Kind." not in path.read_text(encoding="utf-8") or path.stem == "tasks":
            continue
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for name, value in vars(importlib.import_module(module)).items():
            if isinstance(value, dict) and value and all(isinstance(k, Kind) for k in value):
                found[f"{module}.{name}"] = value
    return found


def test_every_table_by_kind_has_a_row_for_each():
    found = {name: set(table) for name, table in tables().items()}

    assert {name.split(".")[1] for name in found} >= {
        "formats",
        "data",
        "experiments",
        "inference",
        "report",
        "runs",
        "serve",
    }
    assert found == {name: FEWER.get(name, KINDS) for name in found}


@pytest.mark.parametrize("name", ["json", "JSON", "overlays", "key", "height", "road_share"])
def test_a_task_cannot_have_the_name_of_something_else_in_a_prediction(name):
    with pytest.raises(PerceptionError, match=f"task {name}: found a name that predictions use"):
        Task(name, Kind.VALUES)


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "a b", "../up", "1st"])
def test_a_task_is_a_word(name):
    with pytest.raises(PerceptionError, match="expected a word"):
        Task(name, Kind.MASK)


def test_a_label_of_ones_own_cannot_take_such_a_name(tmp_path):
    path = tmp_path / "dataset.yaml"
    path.write_text(
        "name: x\nkey: '{n}'\nlayout: {image: 'i/{n}', json: 'j/{n}'}\n"
        "splits: {train: {}}\ntargets: {json: {kind: values}}\n"
    )
    with pytest.raises(PerceptionError, match="task json"):
        load_manifest(path)


def test_the_numbers_of_a_label_are_counted():
    values = np.array([[1, np.nan], [2, 3]], np.float32)

    assert counted(ValuesLabel(values, "m"), "depth") == {"known": 3, "ignored": 1}
