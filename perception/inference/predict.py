"""Predicting many images: overlays and files, one after the other, with a progress bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import write_image
from perception.inference.film import Film
from perception.inference.model import Model
from perception.inference.sources import Source
from perception.inference.write import write_prediction
from perception.progress import progress
from perception.structures import Prediction

Draw = Callable[[NDArray[np.uint8], Prediction], NDArray[np.uint8]]
_WHOLE = 0.95  # a video's header may be off by so much


@dataclass(frozen=True)
class Done:
    """What was predicted."""

    images: int
    milliseconds: float  # mean per image: pre-processing, network, post-processing
    failed: tuple[str, ...] = ()  # one line for each image that could not be predicted
    notes: tuple[str, ...] = ()


def predict_source(
    model: Model,
    source: Source,
    out: Path,
    *,
    draw: Draw,
    tasks: Sequence[str] | None = None,
    also: Callable[[Prediction, NDArray[np.uint8]], None] | None = None,
) -> Done:
    """Predicts every image of `source` and writes it below `out`; a bad image stops no other.

    Args:
        model: a loaded run.
        source: images with keys.
        out: `overlays/`, `json/` and the benchmark formats go below.
        draw: makes the overlay of an image.
        tasks: the heads to run; None: all.
        also: called with each prediction and its image (other outputs).

    Raises:
        PerceptionError: something cannot be written.
    """
    spent: list[float] = []
    failed: list[str] = []
    clipped: Counter[str] = Counter()
    with ExitStack() as stack:
        show = stack.enter_context(progress("predict", source.count or None))
        film = stack.enter_context(Film(out / "overlay.mp4", source.fps)) if source.fps else None
        for key, read in source:
            try:
                pixels = read()
                prediction = model.predict(pixels, key=key, tasks=tasks)
            except PerceptionError as error:
                failed.append(str(error))
            except (MemoryError, torch.OutOfMemoryError):
                failed.append(f"{key}: not enough memory for this image.")
            else:
                spent.append(sum((model.timing.pre, model.timing.network, model.timing.post)))
                overlay = draw(pixels, prediction)
                clipped.update(write_prediction(prediction, out))
                if film:
                    film.add(overlay)
                else:
                    write_image(out / "overlays" / f"{key}.png", overlay)
                if also:
                    also(prediction, pixels)
            show(len(spent) + len(failed))
    if source.fps and len(spent) + len(failed) < _WHOLE * source.count:
        failed.append(f"{source.path}: {len(spent)} of {source.count} frames: is it cut off?")
    notes = [film.note] if film and film.note else []
    notes += [
        f"{out / task}: {count:,} numbers do not fit into the PNGs (1/256 to 255.996), "
        "only into the .npy files"
        for task, count in clipped.items()
        if count
    ]
    if source.left_out:
        notes.append(f"{source.path}: not predicted: {source.left_out}")
    return Done(len(spent), float(np.mean(spent)) if spent else 0.0, tuple(failed), tuple(notes))
