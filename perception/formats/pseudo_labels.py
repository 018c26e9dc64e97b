"""The record beside labels that a model made: by whom, from what, with which limits.

`pseudo_labels.json` lies in the folder of the labels; a dataset.yaml that uses them says `pseudo:`.
Such labels train, they never score: `refuse` raises where they are about to be ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perception.errors import PerceptionError
from perception.files import write_json

RECORD = "pseudo_labels.json"


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Marks everything below `folder` as pseudo-labels."""
    write_json(Path(folder) / RECORD, dict(record))


def find_record(path: Path) -> Path | None:
    """The record of a label file or folder: in it, or in a folder above it."""
    path = Path(path).absolute()
    for folder in (path, *path.parents):
        if (folder / RECORD).is_file():
            return folder / RECORD
    return None


def refuse(path: Path) -> None:
    """Raises a `PerceptionError` where the ground truth at `path` was made by a model."""
    if (record := find_record(path)) is not None:
        raise PerceptionError(
            path,
            f"pseudo-labels ({record})",
            "labels made by people",
            "A score against a model's own guesses says nothing: give the true labels.",
        )


def refuse_tasks(where: str, pseudo: Mapping[str, str], tasks: Sequence[str]) -> None:
    """Raises a `PerceptionError` where one of the evaluated `tasks` has pseudo-labels.

    `pseudo`: task → who made its labels, as in the dataset.yaml.
    """
    for task in tasks:
        if task in pseudo:
            raise PerceptionError(
                where,
                f"pseudo-labels for {task}, made by {pseudo[task]}",
                "labels made by people",
                "Validate on another data set, or without that task: "
                "val: {dataset: ..., split: ..., tasks: [...]}; or set val=null.",
            )
