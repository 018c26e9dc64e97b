"""Worker processes: every way of starting them gives the same results and ends."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perception.errors import PerceptionError
from perception.processes import cores, map_in_order, worker_context

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux alone")

THREADS = """
import cv2, numpy as np
cv2.setNumThreads(4)
for _ in range(3):
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (9, 9), 0)
"""
POOL = """
import os, signal, time
from concurrent.futures import ProcessPoolExecutor
from perception.processes import start_worker, worker_context

def blurred(size):
    import cv2, numpy as np
    return int(cv2.GaussianBlur(np.full((size, size, 3), 7, np.uint8), (9, 9), 0).sum())

def die(size):
    os.kill(os.getpid(), signal.SIGKILL)

def linger(size):
    time.sleep(0.2)
    return os.getpid()

def run(work):
    context = worker_context("perception.files")
    print(context.get_start_method(), flush=True)
    with ProcessPoolExecutor(2, context, start_worker) as pool:
        return list(pool.map(work, (800, 801, 802)))

def run_on():
    with ProcessPoolExecutor(2, worker_context(), start_worker) as pool:
        for pid in pool.map(linger, range(1000)):
            print(pid, flush=True)
"""


def _started(tmp_path: Path, main: str, **environment: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    guard = "\nif __name__ == '__main__':\n"
    script.write_text(POOL + guard + "".join(f"    {line}\n" for line in main.splitlines()))
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


def _ran(tmp_path: Path, main: str, **environment: str) -> tuple[list[str], str, int]:
    """Lines printed, last line of the errors, exit code."""
    process = _started(tmp_path, main, **environment)
    try:
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return out.splitlines(), (errors.splitlines() or [""])[-1], process.returncode


ANSWER = str([7 * 3 * n * n for n in (800, 801, 802)])


@LINUX
def test_a_process_of_one_thread_forks(tmp_path: Path) -> None:
    ran = _ran(tmp_path, "import cv2\nprint(run(blurred))", OPENBLAS_NUM_THREADS="1")
    assert ran == (["fork", ANSWER], "", 0)


@LINUX
def test_after_opencv_has_started_threads_the_workers_come_from_a_server(tmp_path: Path) -> None:
    ran = _ran(tmp_path, f"{THREADS}\nprint(run(blurred))\nprint(run(blurred))")
    assert ran == (["forkserver", ANSWER] * 2, "", 0)


@pytest.mark.parametrize("before", ["", THREADS])
def test_a_killed_worker_is_noticed_and_nothing_hangs(tmp_path: Path, before: str) -> None:
    _, error, code = _ran(tmp_path, f"{before}\nrun(die)")
    assert code == 1
    assert "BrokenProcessPool" in error


@pytest.mark.parametrize("before", ["", THREADS])
def test_no_worker_outlives_a_killed_parent(tmp_path: Path, before: str) -> None:
    process = _started(tmp_path, f"{before}\nrun_on()")
    assert process.stdout is not None
    workers = {int(process.stdout.readline()) for _ in range(8)}
    process.kill()
    try:
        process.communicate(timeout=30)  # until the last worker has closed the pipe
    except subprocess.TimeoutExpired:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        pytest.fail("the workers live on")


def _half(number: int) -> float:
    return number / 2


def _kill_at_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert list(map_in_order(_half, range(40), workers)) == [n / 2 for n in range(40)]


def test_a_killed_worker_is_one_error_that_says_what_to_do() -> None:
    line = r"A worker process was killed, probably out of memory\. Use fewer --workers\."
    with pytest.raises(PerceptionError, match=line):
        list(map_in_order(_kill_at_seven, range(20), 2))


def test_the_cores_are_counted_where_the_system_has_no_affinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() == (os.cpu_count() or 1)


def test_elsewhere_workers_are_fresh_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert worker_context().get_start_method() == "spawn"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="without glibc nothing is done")
@pytest.mark.parametrize("keep", [False, True])
def test_pages_that_were_freed_are_not_asked_for_again(keep: bool) -> None:
    code = (
        "import resource\nfrom perception.memory import keep_freed_memory\n"
        f"if {keep}: keep_freed_memory()\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "blocks = [bytearray(4 << 20) for _ in range(3)]\n"  # 3,072 pages
        "del blocks\nbefore = faults()\n"
        "for _ in range(10): blocks = [bytearray(4 << 20) for _ in range(3)]; del blocks\n"
        "print(faults() - before)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )

    assert (int(ran.stdout) < 4000) == keep
