"""The overlays of a video as a video that browsers play."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import atomic_path

CODECS = ("vp09", "mp4v")  # the first plays in browsers; the second is in every OpenCV
_LARGEST = 65_535  # numerator of a frame rate that MPEG-4 can hold


class Film:
    """A video that appears when it is complete; `note` says where it plays."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, plain_rate(fps)
        self.stack = ExitStack()
        self.writer: Any = None
        self.note = ""

    def __enter__(self) -> Film:
        self.temporary = self.stack.enter_context(atomic_path(self.path, self.path.suffix))
        return self

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Appends one (H, W, 3) RGB frame; those after the first are cut or padded to its size."""
        import cv2

        if self.writer is None:
            self.size = (frame.shape[1], frame.shape[0])
            self.writer = self._opened()
        if (frame.shape[1], frame.shape[0]) != self.size:
            frame = cv2.resize(frame, self.size)  # type: ignore[assignment]
        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.release()
        self.stack.__exit__(*error)  # type: ignore[arg-type]

    def _opened(self) -> Any:
        import cv2

        for codec in CODECS:
            code = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(str(self.temporary), code, self.fps, self.size)
            if writer.isOpened():
                if codec != CODECS[0]:
                    self.note = f"{self.path} is MPEG-4, which browsers do not play; VLC does"
                return writer
        raise PerceptionError(
            self.path,
            f"no encoder for {' or '.join(CODECS)} at {self.fps:g} frames per second",
            "an OpenCV with FFmpeg",
            "Reinstall opencv-python, or predict a folder of images.",
        )


def plain_rate(fps: float) -> float:
    """The nearest frame rate that every format can hold: 105611/500 becomes 211.22."""
    for digits in (3, 2, 1):
        if round(fps, digits) * 10**digits <= _LARGEST:
            return round(fps, digits)
    return float(round(min(fps, _LARGEST)))
