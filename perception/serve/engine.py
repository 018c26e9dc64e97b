"""One queue before one network: requests that wait together share a forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from perception.serve.limits import RequestError
from perception.structures import Prediction

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB


class Predictor(Protocol):
    """What answers several images of one size at once."""

    def __call__(
        self, images: Sequence[Pixels], tasks: tuple[str, ...] | None
    ) -> Sequence[Prediction]:
        """One prediction per image; None asks for all tasks."""
        ...


@dataclass
class _Request:
    pixels: Pixels
    tasks: tuple[str, ...] | None
    answer: asyncio.Future[Prediction]


@dataclass
class Engine:
    """Runs a predictor in a thread of its own, so that the server keeps listening.

    Args:
        predictor: called from one thread only.
        batch: images that share a pass at most; only those of one size and the same tasks do.
        waiting: requests that may wait; one more is refused with 503.
    """

    predictor: Predictor
    batch: int = 8
    waiting: int = 64
    passes: int = 0  # forward passes so far
    images: int = 0  # images predicted so far
    _queue: list[_Request] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to answer; needs a running event loop."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Answers what waits, then ends."""
        while self._queue:
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=True)

    async def predict(self, pixels: Pixels, tasks: tuple[str, ...] | None) -> Prediction:
        """The prediction of one image, once its turn has come.

        Raises:
            RequestError: too many requests wait already (503).
        """
        if len(self._queue) >= self.waiting:
            raise RequestError(503, f"{len(self._queue)} requests are waiting; try again later.")
        request = _Request(pixels, tasks, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._wake.set()
        return await request.answer

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            group = self._next()
            if not group:
                self._wake.clear()
                continue
            images = [each.pixels for each in group]
            try:
                answers = await loop.run_in_executor(
                    self._thread, self.predictor, images, group[0].tasks
                )
            except Exception as error:
                for each in group:
                    if not each.answer.done():
                        each.answer.set_exception(error)
                continue
            self.passes += 1
            self.images += len(group)
            for each, prediction in zip(group, answers, strict=True):
                if not each.answer.done():  # the client may be gone
                    each.answer.set_result(prediction)

    def _next(self) -> list[_Request]:
        """The oldest request and those behind it that can share its pass."""
        self._queue = [each for each in self._queue if not each.answer.done()]
        if not self._queue:
            return []
        first = self._queue[0]
        group = [
            each
            for each in self._queue
            if each.pixels.shape == first.pixels.shape and each.tasks == first.tasks
        ][: self.batch]
        self._queue = [each for each in self._queue if all(each is not g for g in group)]
        return group
