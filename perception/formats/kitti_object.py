"""KITTI object labels and results: one text file per frame, one box per line.

`type truncated occluded alpha left top right bottom h w l x y z rotation_y [score]`: 15 fields in
a label, 16 in a result. Coordinates are stored as docs/coordinates.md has them. Unset values (-1,
-10, -1000) are NaN in `Boxes` (occlusion: -1) and are written back as the format's own numbers.
Source: readme of the KITTI object development kit, 2012 and 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import files_in, read_bytes, write_text
from perception.structures import Boxes, Float

DONT_CARE = "DontCare"  # compared without regard to case
LABEL_FIELDS, RESULT_FIELDS = 15, 16
_LINE = "type truncated occluded alpha left top right bottom h w l x y z rotation_y"
_FIELDS = (*_LINE.split(), "score")
# What stands for "unknown" in the fields without type, occluded and score; None: always known.
_UNSET = (-1, -10, None, None, None, None, -1, -1, -1, -1000, -1000, -1000, -10)


@dataclass(frozen=True)
class BoxTable:
    """The boxes of many frames in one table, frame after frame."""

    keys: tuple[str, ...]
    boxes: Boxes
    counts: NDArray[np.int64]  # (len(keys),) boxes of each frame

    @classmethod
    def of(cls, frames: Iterable[tuple[str, Boxes]]) -> BoxTable:
        """One table from (key, boxes) pairs."""
        pairs = list(frames)
        counts = np.array([len(boxes) for _, boxes in pairs], np.int64)
        return cls(tuple(key for key, _ in pairs), Boxes.concatenate([b for _, b in pairs]), counts)

    @property
    def frame(self) -> NDArray[np.int64]:
        """(N,) index into `keys` of every box."""
        return np.repeat(np.arange(len(self.keys)), self.counts)

    def split(self) -> Iterator[Boxes]:
        """The boxes of each frame, in order."""
        ends = np.cumsum(self.counts).tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            yield self.boxes[start:end]


# ---------------------------------------------------------------------------- reading


def read_labels(path: Path) -> Boxes:
    """The boxes of one label file; DontCare rows have `ignore` set.

    Raises:
        PerceptionError: no text file, or a line that is no label (names file and line).
    """
    return read_label_table([path]).boxes


def read_results(path: Path) -> Boxes:
    """The boxes of one result file, with scores.

    Raises:
        PerceptionError: no text file, or a line that is no result (names file and line).
    """
    return read_result_table([path]).boxes


def parse_labels(text: str) -> Boxes:
    """The boxes of the text of a label file."""
    return _parse_table([Path("text")], [text.encode()], LABEL_FIELDS).boxes


def parse_results(text: str) -> Boxes:
    """The boxes of the text of a result file."""
    return _parse_table([Path("text")], [text.encode()], RESULT_FIELDS).boxes


def read_label_table(paths: Sequence[Path]) -> BoxTable:
    """Many label files at once; keys are the file names without suffix. Raises as one file does."""
    return _read_table(paths, LABEL_FIELDS)


def read_result_table(paths: Sequence[Path]) -> BoxTable:
    """Many result files at once, like `read_label_table`."""
    return _read_table(paths, RESULT_FIELDS)


def frame_files(folder: Path, *, skip: str = "") -> dict[str, Path]:
    """The files of `folder` named digits + `.txt`, by frame id, in the order of the ids.

    Other suffixes are passed over, and so are names that match the pattern `skip`.

    Raises:
        PerceptionError: no such folder, another `.txt` name, or two names of one frame.
    """
    numbers: dict[int, Path] = {}
    for path in files_in(folder, (".txt",)).files:
        if skip and re.fullmatch(skip, path.name.lower()):
            continue
        if not (path.stem.isascii() and path.stem.isdigit()):
            raise PerceptionError(
                path,
                "a text file with another name",
                "digits and .txt, 000123.txt",
                "Rename it or move it away.",
            )
        if (other := numbers.setdefault(int(path.stem), path)) != path:
            raise PerceptionError(
                path,
                f"the same frame number as {other.name}",
                "one file per frame",
                "Remove one of the two.",
            )
    return {path.stem: path for _, path in sorted(numbers.items())}


# ---------------------------------------------------------------------------- writing


def write_labels(path: Path, boxes: Boxes) -> None:
    """Writes a label file (15 fields). Raises `PerceptionError` for a class name with blanks."""
    write_text(path, format_labels(boxes))


def write_results(path: Path, boxes: Boxes) -> None:
    """Writes a result file (16 fields). Raises `PerceptionError` for a class name with blanks."""
    write_text(path, format_results(boxes))


def format_labels(boxes: Boxes) -> str:
    """The text of a label file: two decimals where they are exact, else the shortest exact text."""
    return "".join(" ".join(fields) + "\n" for fields in _rows(boxes))


def format_results(boxes: Boxes) -> str:
    """The text of a result file; every box needs a finite score."""
    if not np.isfinite(boxes.score).all():
        raise ValueError("every box of a result file needs a finite score")
    rows = zip(_rows(boxes), boxes.score.tolist(), strict=True)
    return "".join(" ".join(fields) + f" {score!r}\n" for fields, score in rows)


def _rows(boxes: Boxes) -> list[list[str]]:
    """The first 15 fields of every box as text."""
    names = boxes.names.tolist()
    for name in set(names):
        if not name or re.search(r"\s", name):
            raise PerceptionError(
                f"class {name!r}",
                "blanks in the name" if name else "an empty name",
                "one word, as blanks separate the fields",
                "Map the class to another name, such as Traffic_light.",
            )
    columns = np.column_stack(
        [
            boxes.truncation,
            boxes.alpha,
            boxes.xyxy,
            boxes.dimensions,
            boxes.location,
            boxes.rotation_y,
        ]
    )
    rows = []
    for name, occlusion, row in zip(names, boxes.occlusion.tolist(), columns.tolist(), strict=True):
        truncation, *rest = map(_number, row, _UNSET)
        rows.append([name, truncation, str(occlusion), *rest])
    return rows


def _number(value: float, unset: int | None) -> str:
    """KITTI's two decimals where they are exact, else the shortest text that reads back equal."""
    if value != value:
        if unset is None:
            raise ValueError("the corners of a box must be numbers")
        return str(unset)
    short = f"{value:.2f}"
    return short if float(short) == value else repr(value)


# ---------------------------------------------------------------------------- parsing


def _read_table(paths: Sequence[Path], fields: int) -> BoxTable:
    return _parse_table(paths, [_slurp(path) for path in paths], fields)


def _parse_table(paths: Sequence[Path], contents: list[bytes], fields: int) -> BoxTable:
    contents = [content.rstrip() for content in contents]
    columns = _split_regular(contents, fields)
    if columns is None:
        columns = _split_lines(paths, contents, fields)
    names, values, counts = columns
    return BoxTable(tuple(p.stem for p in paths), _boxes(names, values), counts)


def _boxes(names: list[str], values: Float) -> Boxes:
    """Boxes from type names and (N, 14 | 15) numbers in the order of the fields."""
    unset = np.array([np.nan if u is None else u for u in (*_UNSET[:1], None, *_UNSET[1:])])
    known = values[:, :14]
    known = np.where(known == unset, np.nan, known)
    labels = np.array(names, np.str_).reshape(-1)
    care = {name: name.lower() == DONT_CARE.lower() for name in set(names)}
    return Boxes(
        xyxy=known[:, 3:7], names=labels,
        score=values[:, 14] if values.shape[1] > 14 else np.full(len(values), np.nan),
        truncation=known[:, 0], occlusion=known[:, 1].clip(-(2**31), 2**31).astype(np.int64),
        alpha=known[:, 2], dimensions=known[:, 7:10], location=known[:, 10:13],
        rotation_y=known[:, 13], ignore=np.array([care[name] for name in names], bool),
    )  # fmt: skip


def _slurp(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path.open
            return file.read()
    except (OSError, ValueError):
        return read_bytes(path)  # the same failure, as a named error


def _split_regular(
    contents: list[bytes], fields: int
) -> tuple[list[str], Float, NDArray[np.int64]] | None:
    """(type names, numbers, boxes per file) of well-formed files, all at once; None: look closer.

    Well-formed: ASCII, single blanks between the fields, no other white space.
    """
    counts = np.array([c.count(b"\n") + 1 if c else 0 for c in contents], np.int64)
    joined = b"\n".join(c for c in contents if c)
    if not joined:
        return [], np.zeros((0, fields - 1)), counts
    if not joined.isascii() or any(space in joined for space in _OTHER_SPACES):
        return None
    lines = joined.decode("ascii").split("\n")
    if any(line.count(" ") != fields - 1 for line in lines):
        return None
    names = [line.partition(" ")[0] for line in lines]
    if not all(name and _is_name(name) for name in set(names)):
        return None
    if fields == LABEL_FIELDS and not all(
        map(_is_integer, {line.split(" ", 3)[2] for line in lines})
    ):
        return None
    try:  # an empty field, from two blanks, is refused too
        values = np.loadtxt(lines, delimiter=" ", comments=None, usecols=range(1, fields), ndmin=2)
    except ValueError:
        return None
    return (names, values, counts) if np.isfinite(values).all() else None


_OTHER_SPACES = (b"\t", b"\r", b"\v", b"\f", b"\x1c", b"\x1d", b"\x1e", b"\x1f")


def _split_lines(
    paths: Sequence[Path], contents: list[bytes], fields: int
) -> tuple[list[str], Float, NDArray[np.int64]]:
    """The same, line by line: any blanks, empty lines, UTF-8; raises where a line is wrong."""
    names: list[str] = []
    rows: list[list[float]] = []
    counts = np.zeros(len(paths), np.int64)
    for index, (path, content) in enumerate(zip(paths, contents, strict=True)):
        for number, line in enumerate(_decode(path, content).split("\n"), 1):
            words = line.split()
            if not words:
                continue
            if len(words) != fields:
                _refuse(
                    path, number, f"{len(words)} fields", f"{fields} fields: {_EXPECTED[fields]}"
                )
            if not _is_name(words[0]):
                _refuse(path, number, f"the type {words[0]}", "a class name in the first field")
            if fields == LABEL_FIELDS and not _is_integer(words[2]):
                _refuse(path, number, f"occluded {words[2]}", "a whole number in the third field")
            names.append(words[0])
            rows.append(
                [_value(path, number, f, w) for f, w in zip(_FIELDS[1:], words[1:], strict=False)]
            )
            counts[index] += 1
    return names, np.array(rows, np.float64).reshape(-1, fields - 1), counts


_EXPECTED = {
    LABEL_FIELDS: f"15 fields: {_LINE} (a label has no score)",
    RESULT_FIELDS: f"16 fields: {_LINE} score",
}


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _refuse(path, line, f"byte {content[error.start]:#04x}", "UTF-8 text")


def _value(path: Path, line: int, field: str, word: str) -> float:
    value = _float(word)
    if value is None or not np.isfinite(value):
        _refuse(path, line, f"{field} {word}", "a finite number")
    return value


def _float(word: str) -> float | None:
    """A number in ASCII digits; Python's own float() takes more than that."""
    if "_" in word or not word.isascii():
        return None
    try:
        return float(word)
    except ValueError:
        return None


def _is_name(word: str) -> bool:
    """False for a number: the line lacks its type, or a field of the line before spilled over."""
    return _float(word) is None


def _is_integer(word: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", word) is not None


def _refuse(path: Path, line: int, found: str, expected: str) -> NoReturn:
    raise PerceptionError(f"{path}, line {line}", found, expected)
