"""Worker processes: how they are started."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import BaseContext

THREADED = ("cv2", "torch")  # libraries whose own threads a forked child would wait for for ever


def worker_context() -> BaseContext:
    """Fork where that is safe, for it takes milliseconds; else a fresh interpreter per worker."""
    forks = "fork" in multiprocessing.get_all_start_methods()
    safe = forks and not any(name in sys.modules for name in THREADED)
    return multiprocessing.get_context("fork" if safe else "spawn")
