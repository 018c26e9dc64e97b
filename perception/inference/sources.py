"""Where images to predict come from: a file, a folder, a video."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import IMAGE_SUFFIXES, files_below, has_suffix, read_image

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg",
    ".wmv", ".flv", ".3gp", ".ogv",
)  # fmt: skip
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """Images with their keys, in order; `fps` for a video."""

    path: Path
    count: int  # 0: a video that does not say
    fps: float | None = None
    images: tuple[tuple[str, Path], ...] = ()
    left_out: str = ""  # e.g. "2 .txt"

    def __iter__(self) -> Iterator[tuple[str, Callable[[], Pixels]]]:
        """Keys, each with what reads its (H, W, 3) RGB pixels or raises a `PerceptionError`."""
        if self.fps is not None:
            for key, pixels in _video_frames(self.path):
                yield key, partial(_same, pixels)
        for key, path in self.images:
            yield key, partial(read_image, path)


def open_source(path: Path, *, out: Path | None = None) -> Source:
    """An image file, a folder of images (with its subfolders), or a video file.

    Args:
        path: what to predict; ~ is the home folder.
        out: where predictions go: never a source, also where it lies in `path`.

    Raises:
        PerceptionError: nothing there, or nothing that can be read as one of these.
    """
    path = path.expanduser()
    if path.is_file() and has_suffix(path.name, VIDEO_SUFFIXES):
        return _open_video(path)
    if path.is_file():
        return Source(path, 1, images=((path.stem, path),))
    if not path.is_dir():
        raise _nothing(path, "no such file or folder")
    found = files_below(path, IMAGE_SUFFIXES)
    files = [file for file in found.files if out is None or not _inside(file, out)]
    if not files:
        raise _nothing(path, "no images")
    keys = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    key, count = Counter(keys).most_common(1)[0]
    if count > 1:
        names = " and ".join(f.name for f, k in zip(files, keys, strict=True) if k == key)
        raise PerceptionError(
            path,
            f"two images for {key}: {names}",
            "one file per name",
            "Rename one of them, or predict the folders one by one.",
        )
    images = tuple(zip(keys, files, strict=True))
    return Source(path, len(images), images=images, left_out=found.left_out)


def _nothing(path: Path, found: str) -> PerceptionError:
    return PerceptionError(
        path,
        found,
        f"an image, a video or a folder with {', '.join(IMAGE_SUFFIXES)}",
        "Give images=PATH.",
    )


def _inside(file: Path, folder: Path) -> bool:
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder))


def _same(pixels: Pixels) -> Pixels:
    return pixels


def _open_video(path: Path) -> Source:
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise PerceptionError(
                path,
                "a video that does not open",
                "a file that OpenCV can decode",
                "Convert it, e.g. with ffmpeg, to H.264 in .mp4.",
            )
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        return Source(path, max(count, 0), float(video.get(cv2.CAP_PROP_FPS)) or 25.0)
    finally:
        video.release()


def _video_frames(path: Path) -> Iterator[tuple[str, Pixels]]:
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while True:
            done, frame = video.read()
            if not done:
                return
            yield f"{path.stem}_{number:06d}", np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            number += 1
    finally:
        video.release()
