"""List files: which frames of a data set belong to a split, one per line.

A line is a key ("um_000005"), or the path of an image below the root or anywhere, with or without
suffix, in quotes or not, with further columns behind it or not (pairs of image and label).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from perception.errors import PerceptionError
from perception.files import IMAGE_SUFFIXES, has_suffix, read_bytes, read_text

_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # as PowerShell writes it


@dataclass(frozen=True)
class Line:
    """One line of a list."""

    number: int
    text: str


def read_lines(path: Path) -> list[Line]:
    """The lines of a list; blank ones and what follows # are left out.

    Raises:
        PerceptionError: no text file, or nothing in it.
    """
    data = read_bytes(path)
    text = data.decode("utf-16", "replace") if data[:2] in _UTF16 else read_text(path)
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line if not line.lstrip().startswith("#") else ""
        words = words.split(" #")[0].strip()
        if words:
            lines.append(Line(number, words))
    if not lines:
        raise PerceptionError(
            path, "an empty list", "one frame per line", "Write one, or take it out."
        )
    return lines


class Names:
    """The frames of a data set by whatever a list may call them.

    Args:
        paths: key → path of the image, below the root.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.keys = set(paths)
        self.paths = {path: key for key, path in paths.items()}
        self.paths |= {str(PurePosixPath(path).with_suffix("")): key for key, path in paths.items()}
        self.stems: dict[str, list[str]] = {}
        for key, path in paths.items():
            self.stems.setdefault(PurePosixPath(path).stem, []).append(key)

    def key(self, where: str, text: str) -> str | None:
        """The key of the frame that a line means; None: there is none.

        Raises:
            PerceptionError: a bare name that fits several frames.
        """
        whole = _unquoted(text)
        words = (whole, *(_unquoted(word) for word in whole.replace(",", " ").split()[:1]))
        for word in words:
            for name in (word, _without_suffix(word)):
                if name in self.keys:
                    return name
                parts = PurePosixPath(name).parts
                for start in range(len(parts)):  # an absolute path ends in one below the root
                    if key := self.paths.get("/".join(parts[start:])):
                        return key
        bare = _without_suffix(words[-1])
        fitting = self.stems.get(bare, [])
        if len(fitting) > 1:
            found = f"{words[-1]}, a name of {len(fitting)} frames"
            raise PerceptionError(where, found, " or ".join(fitting[:3]))
        return fitting[0] if fitting else None


def _unquoted(text: str) -> str:
    """Without quotes around it, with slashes and without ./ before it."""
    text = text.strip()
    if text[:1] in ("'", '"') and (end := text.find(text[0], 1)) > 0:
        text = text[1:end]
    return text.replace("\\", "/").removeprefix("./")


def _without_suffix(name: str) -> str:
    return name[: name.rindex(".")] if has_suffix(name, IMAGE_SUFFIXES) else name
