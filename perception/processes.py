"""Worker processes: how they start and end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.context import BaseContext
from pathlib import Path

from perception.memory import keep_freed_memory

THREADED = ("cv2", "torch")  # libraries whose own threads a forked child would wait for for ever


def worker_context(*modules: str) -> BaseContext:
    """The quickest safe start: fork, else fork from a server, else a fresh interpreter.

    modules: what the workers need. The server lives as long as this process and loads them once,
    at its first start; it runs nothing of them, so that no thread is in the way of its forks.
    Outside Linux, where system libraries start threads as they like, every worker is a fresh one.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    if _threads() == 1 or not any(name in sys.modules for name in THREADED):
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cv2", "concurrent.futures.process", *modules])
    return context


def start_worker() -> None:
    """First thing in a worker: Ctrl-C is for its parent, without which it ends; one core each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    import cv2

    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _threads() -> int:
    """Threads of this process, those of libraries too; 0 where the system does not tell."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return 0
