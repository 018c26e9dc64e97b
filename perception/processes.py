"""Worker processes: one pool for the whole project, how its workers start and end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perception.errors import PerceptionError
from perception.memory import keep_freed_memory

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

In = TypeVar("In")
Out = TypeVar("Out")

THREADED = ("cv2", "torch")  # libraries whose own threads a forked child would wait for for ever


def cores() -> int:
    """The cores that this process may use: the default number of workers."""
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def map_in_order(
    run: Callable[[In], Out],
    jobs: Sequence[In],
    workers: int,
    *,
    few: int = 4,
    chunk: int | None = None,
) -> Iterator[Out]:
    """`run` of each job, in the order of the jobs, in `workers` processes.

    Args:
        run: a function of a module, or a `partial` of one.
        few: so many jobs are done here: starting workers takes longer.
        chunk: jobs that a worker takes at a time; None: as their number suggests.

    Raises:
        PerceptionError: a worker was killed.
    """
    workers = min(workers, len(jobs))
    if workers <= 1 or len(jobs) <= few:
        yield from map(run, jobs)
        return
    # a twentieth of a second that one process does not need
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    context = worker_context(getattr(run, "func", run).__module__)
    chunk = chunk or max(1, min(16, len(jobs) // (4 * workers)))
    with ProcessPoolExecutor(workers, context, start_worker) as pool:
        try:
            yield from pool.map(run, jobs, chunksize=chunk)
        except BrokenProcessPool as error:
            raise PerceptionError(
                "--workers",
                "A worker process was killed, probably out of memory",
                do="Use fewer --workers.",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def worker_context(*modules: str) -> BaseContext:
    """The quickest safe start: fork, else fork from a server, else a fresh interpreter.

    modules: what the workers need. The server lives as long as this process and loads them once,
    at its first start; it runs nothing of them, so that no thread is in the way of its forks.
    Outside Linux, where system libraries start threads as they like, every worker is a fresh one.
    """
    import multiprocessing

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
    import multiprocessing

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
