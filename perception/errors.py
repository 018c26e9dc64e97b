"""The one exception that users see: something is wrong with their files or settings."""

from __future__ import annotations


class PerceptionError(Exception):
    """Something is wrong with the user's files or settings; shown as one line, no traceback.

    Args:
        where: the file (with line, key or shape where there is one) or the setting.
        found: what it holds, or what is wrong with it.
        expected: what it should hold; left out where `found` says it all ("no such folder").
        do: one full sentence that says how to go on; left out where it would say nothing new.
    """

    def __init__(self, where: object, found: str, expected: str = "", do: str = "") -> None:
        fault = f"found {found}, expected {expected}." if expected else f"{found}."
        super().__init__(f"{where}: {fault} {do}".rstrip())
        self.where = str(where)
        self.found = found
        self.expected = expected
        self.do = do

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles by its four fields, so that worker processes can hand it back."""
        return (_rebuild, (type(self), self.where, self.found, self.expected, self.do))


class UsageError(PerceptionError):
    """The command was called wrongly: exit code 2 instead of 1."""


def _rebuild(
    kind: type[PerceptionError], where: str, found: str, expected: str, do: str
) -> PerceptionError:
    return kind(where, found, expected, do)
