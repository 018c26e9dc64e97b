"""What a labelled or detected box counts as."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """What a label or detection counts as."""

    NEUTRAL = 0  # neither right nor wrong
    RIGHT = 1  # a label that was found, or the detection that found it
    MISSED = 2  # a label
    WRONG = 3  # a detection
    LEFT_OUT = 4  # a detection below the threshold
