"""`profile=true`: where the time of a few steps goes, as a trace and a table in the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from perception.files import write_text
from perception.files.atomic import atomic_path
from perception.training.state import Run

STEPS = 3  # after two that warm up
ROWS = 40  # of the table


@contextmanager
def profiled(run: Run) -> Iterator[Callable[[], None]]:
    """What to call after each step; without `profile=true`, and in helping processes, nothing."""
    if not run.config.get("profile", default_value=False) or not run.fabric.is_global_zero:
        yield lambda: None
        return
    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    steps = schedule(wait=1, warmup=1, active=STEPS, repeat=1)
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"

    def write(done: profile) -> None:
        with atomic_path(run.folder / "profile.json", ".json") as path:
            done.export_chrome_trace(str(path))
        table = done.key_averages().table(sort_by=order, row_limit=ROWS)
        write_text(run.folder / "profile.txt", table)
        print(f"profile: {run.folder / 'profile.txt'}, trace: profile.json (ui.perfetto.dev)")

    with profile(activities=activities, schedule=steps, on_trace_ready=write) as running:
        yield running.step
