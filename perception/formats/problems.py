"""What is wrong with one file of a folder: collected and reported, never a reason to stop."""

from __future__ import annotations

from dataclasses import dataclass

from perception.errors import PerceptionError


@dataclass(frozen=True)
class Problem:
    """One line of a report."""

    reason: str  # a code, e.g. "image_missing"
    detail: str  # for people: what was found, what was expected, what to do
    shape: int | None = None  # index in the file's shapes
    error: bool = False  # True: the file has no output


class RefusedError(PerceptionError):
    """A file or shape that cannot be used; carries the one `Problem` to report."""

    def __init__(self, reason: str, detail: str, shape: int | None = None) -> None:
        super().__init__(reason, detail)
        self.problem = Problem(reason, detail, shape, error=True)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles by its own three fields."""
        return (RefusedError, (self.problem.reason, self.problem.detail, self.problem.shape))
