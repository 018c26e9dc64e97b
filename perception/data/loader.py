"""Batches of one data set, made ahead of time by worker processes.

The batch of step t is a pure function of (seed, t): workers, and earlier steps, change nothing.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from perception.data.augment import Augment
from perception.data.batch import Batch, Sample, collate
from perception.data.datasets import FrameDataset
from perception.data.sampling import balanced_indices, batch_indices, choice_of_step, sample_seed
from perception.errors import PerceptionError


@dataclass(frozen=True)
class BatchStream:
    """An endless row of batches of one data set."""

    dataset: FrameDataset
    augment: Augment
    batch_size: int
    seed: int = 0
    workers: int = 1  # 0: batches are made where they are asked for
    prefetch: int = 2  # batches made ahead by each worker
    sizes: Sequence[tuple[int, int]] = ()  # (height, width): one per step, equally often
    frames_of_class: Sequence[Sequence[int]] = ()  # if given, frames are drawn by class
    rank: int = 0  # this process makes its part of every batch ...
    processes: int = 1  # ... of so many; together they make what one process would

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.processes:
            raise PerceptionError(
                f"{self.dataset.name}: batch_size",
                str(self.batch_size),
                f"a multiple of the {self.processes} processes",
                "The batch is that of all processes together.",
            )

    def indices(self, step: int) -> list[int]:
        """Frames of the batch of `step`, of all processes."""
        if self.frames_of_class:
            return balanced_indices(
                self.seed, step, frames_of_class=self.frames_of_class, batch_size=self.batch_size
            )
        return batch_indices(self.seed, step, frames=len(self.dataset), batch_size=self.batch_size)

    def size(self, step: int) -> tuple[int, int] | None:
        """(height, width) of the batch of `step`; None: that of the augmentation."""
        return choice_of_step(self.seed, step, self.sizes) if self.sizes else None

    def batch(self, step: int) -> Batch:
        """The batch of `step`, this process's part of it."""
        size = self.size(step)
        indices, part = self.indices(step), self.batch_size // self.processes
        samples: list[Sample] = []
        for i in range(self.rank * part, (self.rank + 1) * part):
            sample = self.dataset.sample(indices[i])
            samples.append(self.augment(sample, sample_seed(self.seed, step, i), size=size))
        return collate(samples)

    def iterate(self, start_step: int = 0) -> Iterator[Batch]:
        """Batches of `start_step`, `start_step` + 1, ... without end.

        Raises:
            PerceptionError: what reading a frame raised, in its worker.
        """
        loader: DataLoader[Any] = DataLoader(
            _Steps(self),
            batch_size=None,
            sampler=_CountFrom(start_step),
            num_workers=self.workers,
            collate_fn=_as_it_is,
            worker_init_fn=_quiet_worker,
            prefetch_factor=self.prefetch if self.workers else None,
            generator=torch.Generator(),  # its seeds are not used: leave the global state alone
        )
        batches = iter(loader)
        if self.workers and threading.current_thread() is threading.main_thread():
            # torch would raise in the middle of whatever runs when a worker dies; asking for the
            # next batch finds out as well
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while True:
            try:
                batch = next(batches)
            except (RuntimeError, ConnectionError, EOFError) as error:
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                raise PerceptionError(
                    f"{self.dataset.name}: a loader process",
                    "killed, perhaps for want of memory",
                    "",
                    "Lower trainer.workers or batch_size, or free memory.",
                ) from error
            if isinstance(batch, PerceptionError):
                raise batch
            yield batch


class _Steps(Dataset[Any]):
    """Item t is the batch of step t, or the user's error that making it raised."""

    def __init__(self, stream: BatchStream) -> None:
        self.batch: Callable[[int], Batch] = stream.batch

    def __getitem__(self, step: int) -> Batch | PerceptionError:
        try:
            return self.batch(step)
        except PerceptionError as error:
            return error  # torch would wrap it into a traceback


class _CountFrom(Sampler[int]):
    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


def _as_it_is(batch: Any) -> Any:
    return batch


def _quiet_worker(_: int) -> None:
    """One thread per worker; signals to the process group are the parent's to handle."""
    import cv2

    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # SIGTERM from the parent still ends a worker
