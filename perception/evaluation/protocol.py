"""What a score was measured by: a name, a version, and the values that define it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Protocol:
    """A benchmark's definition as data; written beside every score.

    Two scores compare only when name, version and parameters are equal. The version goes up
    whenever the same files would get another number.
    """

    name: str  # "kitti_road/bev"
    version: int
    parameters: Mapping[str, object] = field(default_factory=dict)  # plain JSON values
