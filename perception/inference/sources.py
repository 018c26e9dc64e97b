"""Where images to predict come from: a file, a folder, a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import IMAGE_SUFFIXES, read_image

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")


@dataclass(frozen=True)
class Source:
    """Images with their keys, in order; `fps` for a video."""

    path: Path
    count: int
    fps: float | None = None

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        if self.fps is not None:
            yield from _video_frames(self.path)
        else:
            for path in _images(self.path):
                yield _key(self.path, path), read_image(path)


def open_source(path: Path) -> Source:
    """An image file, a folder of images (with its subfolders), or a video file.

    Raises:
        PerceptionError: nothing there, or nothing that can be read as one of these.
    """
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        return _open_video(path)
    images = _images(path)
    if not images:
        raise PerceptionError(
            path,
            "no images" if path.is_dir() else "no such file or folder",
            f"an image, a video or a folder with {', '.join(IMAGE_SUFFIXES)}",
            "Give images=PATH.",
        )
    keys = [_key(path, image) for image in images]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise PerceptionError(
            path,
            f"two images for {min(twice)}",
            "one file per name",
            "Rename one of them, or predict the folders one by one.",
        )
    return Source(path, len(images))


def _images(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(
            p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
        )
    return [path] if path.is_file() else []


def _key(root: Path, image: Path) -> str:
    return image.stem if root.is_file() else image.relative_to(root).with_suffix("").as_posix()


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


def _video_frames(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
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
