"""How this process holds memory."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT, _LARGEST = 1 << 29, 1 << 25  # bytes; glibc refuses more than 32 MiB for the second


def keep_freed_memory() -> None:
    """Blocks that are freed stay here for the next ones, up to half a GiB.

    glibc returns an image's arrays to the system, which clears every page of the next image's: a
    seventh of the time of scoring. For programs, not for a library's functions; without glibc
    nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _LARGEST)
