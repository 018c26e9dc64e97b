"""Predicting many images: overlays and files, one after the other, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from perception.errors import PerceptionError
from perception.files import atomic_path, write_image
from perception.inference.model import Model
from perception.inference.sources import Source
from perception.inference.write import write_prediction
from perception.structures import Prediction

Draw = Callable[[NDArray[np.uint8], Prediction], NDArray[np.uint8]]


@dataclass(frozen=True)
class Done:
    """What was predicted."""

    images: int
    milliseconds: float  # mean per image: pre-processing, network, post-processing


def predict_source(
    model: Model,
    source: Source,
    out: Path,
    *,
    draw: Draw,
    tasks: Sequence[str] | None = None,
    also: Callable[[Prediction, NDArray[np.uint8]], None] | None = None,
) -> Done:
    """Predicts every image of `source` and writes it below `out`.

    Args:
        model: a loaded run.
        source: images with keys.
        out: `overlays/`, `json/` and the benchmark formats go below.
        draw: makes the overlay of an image.
        tasks: the heads to run; None: all.
        also: called with each prediction and its image (other outputs).
    """
    spent: list[float] = []
    console = Console(stderr=True)
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(console=console, disable=not console.is_terminal))
        task = bar.add_task("predict", total=source.count or None)
        film = stack.enter_context(_Film(out / "overlay.mp4", source.fps)) if source.fps else None
        for key, pixels in source:
            prediction = model.predict(pixels, key=key, tasks=tasks)
            spent.append(sum((model.timing.pre, model.timing.network, model.timing.post)))
            overlay = draw(pixels, prediction)
            write_prediction(prediction, out)
            if film:
                film.add(overlay)
            else:
                write_image(out / "overlays" / f"{key}.png", overlay)
            if also:
                also(prediction, pixels)
            bar.advance(task)
    return Done(len(spent), float(np.mean(spent)) if spent else 0.0)


class _Film:
    """A video that appears when it is complete."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.stack = ExitStack()
        self.writer: Any = None

    def __enter__(self) -> _Film:
        self.temporary = self.stack.enter_context(atomic_path(self.path))
        return self

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Appends one (H, W, 3) RGB frame."""
        import cv2

        if self.writer is None:
            size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.temporary), code, self.fps, size)
            if not self.writer.isOpened():
                raise PerceptionError(
                    self.path,
                    "no encoder for mp4v",
                    "an OpenCV with FFmpeg",
                    "Reinstall opencv-python, or predict a folder of images.",
                )
        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.release()
        self.stack.__exit__(*error)  # type: ignore[arg-type]
