"""What a conversion did: `report.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from perception.formats.labelme import escape_surrogates
from perception.formats.problems import Problem


@dataclass(frozen=True)
class FileResult:
    """What became of one annotation."""

    file: str
    name: str
    outputs: tuple[str, ...] = ()  # relative to the output folder
    problems: tuple[Problem, ...] = ()
    part: Any = None  # for formats of one file for all frames
    split: str = ""  # "train" or "val" where frames are kept for validation

    @property
    def failed(self) -> bool:
        """True: nothing was written."""
        return any(problem.error for problem in self.problems)


@dataclass(frozen=True)
class Report:
    """What became of all."""

    target: str
    options: dict[str, Any]
    results: tuple[FileResult, ...]
    notes: tuple[tuple[str, Problem], ...] = ()  # (folder, what is wrong with it)
    hidden: int = 0  # files passed over because of their names

    def encode(self) -> bytes:
        """The bytes of `report.json`."""
        content = {
            "target": self.target,
            "options": self.options,
            "converted": [
                {"file": r.file, "name": r.name, "outputs": list(r.outputs)}
                for r in sorted(self.results, key=lambda r: r.file)
                if not r.failed
            ],
            "warnings": [_entry(*row) for row in self.warnings],
            "errors": [_entry(*row) for row in self.errors],
        }
        text = json.dumps(content, ensure_ascii=False, indent=1)
        return escape_surrogates(text).encode("utf-8") + b"\n"

    @property
    def errors(self) -> list[tuple[str, Problem]]:
        """(file or folder, problem) that left files without output."""
        rows = [(r.file, p) for r in self.results for p in r.problems]
        return _sorted(row for row in (*rows, *self.notes) if row[1].error)

    @property
    def warnings(self) -> list[tuple[str, Problem]]:
        """(file, problem) of what was converted all the same."""
        rows = [(r.file, p) for r in self.results if not r.failed for p in r.problems]
        return _sorted((*rows, *(note for note in self.notes if not note[1].error)))


def _sorted(rows: Iterable[tuple[str, Problem]]) -> list[tuple[str, Problem]]:
    unique = dict.fromkeys(rows)
    return sorted(
        unique,
        key=lambda row: (
            row[0],
            -1 if row[1].shape is None else row[1].shape,
            row[1].reason,
            row[1].detail,
        ),
    )


def _entry(file: str, problem: Problem) -> dict[str, Any]:
    return {
        "file": file,
        "shape": problem.shape,
        "reason": problem.reason,
        "detail": problem.detail,
    }
