"""The configuration groups and their choices: packaged ones, and those of the user's own folder.

Own files are in `--config-dir DIR`, or in a folder `conf/` of the working directory, as
`DIR/experiment/mine.yaml`, `DIR/data/mine.yaml`, ...
"""

from __future__ import annotations

from pathlib import Path

from perception.errors import UsageError
from perception.files import packaged, read_bytes

OWN = "conf"  # found by itself in the working directory


def groups() -> list[str]:
    """All configuration groups, e.g. "head/road"."""
    return _groups_in(packaged(OWN))


def options_of(group: str, own: Path | None = None) -> list[str]:
    """The choices of a group, those of the user's own folder included."""
    folders = [packaged(OWN), *([own] if own else [])]
    return sorted({p.stem for folder in folders for p in (folder / group).glob("*.yaml")})


def own_folder(named: Path | None = None) -> Path | None:
    """The user's own configuration: `named`, else `conf/` here where it holds one of our groups.

    Raises:
        UsageError: no such folder, none of our groups in it, or a config.yaml of its own.
    """
    folder = (named or Path(OWN)).expanduser().resolve()
    if folder == packaged(OWN).resolve():
        return None
    ours = folder.is_dir() and any(group in groups() for group in _groups_in(folder))
    if not ours:
        if named is None:
            return None
        found = "no such folder" if not folder.is_dir() else "no configuration in it"
        expected = "" if not folder.is_dir() else "e.g. experiment/NAME.yaml or data/NAME.yaml"
        raise UsageError(f"--config-dir {named}", found, expected)
    if (folder / "config.yaml").is_file() and not _packaged_too(folder, "config.yaml"):
        raise UsageError(
            folder / "config.yaml",
            "a file that would not be read",
            "choices of groups, e.g. experiment/NAME.yaml",
            "Move its settings to an experiment (# @package _global_).",
        )
    return folder


def check_choice(own: Path, group: str, name: str) -> None:
    """Raises a `UsageError` for a file in `own` that has the name of a packaged choice."""
    file = f"{group}/{name}.yaml"
    both = (own / file).is_file() and packaged(OWN, *group.split("/"), f"{name}.yaml").is_file()
    if both and not _packaged_too(own, file):
        raise UsageError(
            own / file, "the name of a packaged choice", "a name of its own", "Rename the file."
        )


def _groups_in(root: Path) -> list[str]:
    folders = sorted(p for p in root.rglob("*") if p.is_dir() and any(p.glob("*.yaml")))
    return [folder.relative_to(root).as_posix() for folder in folders]


def _packaged_too(own: Path, file: str) -> bool:
    """Whether a file is the packaged one, byte for byte."""
    theirs = packaged(OWN) / file
    return theirs.is_file() and read_bytes(theirs) == read_bytes(own / file)
