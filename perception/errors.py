"""The one exception that users see: something is wrong with their files or settings."""

from __future__ import annotations


class PerceptionError(Exception):
    """Something is wrong with the user's files or settings; shown as one line, no traceback.

    Args:
        where: the file (with line, key or shape where there is one) or the setting.
        found: what stands there.
        expected: what should stand there.
        do: one full sentence that says how to go on.
    """

    def __init__(self, where: object, *, found: str, expected: str, do: str) -> None:
        super().__init__(f"{where}: found {found}, expected {expected}. {do}")
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
    return kind(where, found=found, expected=expected, do=do)
