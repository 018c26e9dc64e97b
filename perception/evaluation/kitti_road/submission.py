"""The zip that the KITTI road server takes: bird's-eye-view maps of the testing part.

One 8-bit grey PNG of 400x800 per frame in the root of the archive, named `um_road_000000.png`;
confidence is `round(255 p)`, never stretched, so that thresholds mean the same in every frame.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.evaluation.kitti_road.bev import COLUMNS, ROWS, to_bev
from perception.evaluation.kitti_road.files import (
    find_calibration,
    read_homography,
    read_map_or_confidence,
)
from perception.evaluation.kitti_road.protocol import SUBMISSION_FRAMES
from perception.files import atomic_open, files_in

ROADS = ("um_road", "umm_road", "uu_road")  # asked for; um_lane is a ranking of its own
_MAX_BYTES = 4 << 20  # of one map; an uncompressed one has 320 kB
_MOST_MEMBERS = 1000  # the testing part has 290 frames, and 96 of them a lane
_DATE = (2013, 1, 1, 0, 0, 0)  # the same maps give the same archive


@dataclass(frozen=True)
class Submission:
    """What is in an archive, and what the server would say to it."""

    maps: dict[str, int]  # good maps per category
    problems: tuple[str, ...]  # any of them: the server refuses
    notes: tuple[str, ...] = ()


def expected_names(category: str) -> list[str]:
    """um_road_000000 and so on, the frames of the testing part."""
    return [f"{category}_{i:06d}" for i in range(SUBMISSION_FRAMES[category])]


def write_submission(
    predicted: Path,
    calibration: Path,
    out: Path,
    *,
    advance: Callable[[int, int], object] = lambda *_: None,
) -> Submission:
    """Turns the maps of a folder (in the image: .png, or .npy probabilities) into the archive.

    Maps are named like the images (`um_000000.png`) or like the result (`um_road_000000.png`);
    lane maps always `um_lane_000000.png`. The archive appears whole or not at all.

    Raises:
        PerceptionError: a frame of the testing part is missing or double, a map or calibration
            cannot be read.
    """
    sources = find_maps(predicted)
    with atomic_open(out) as file, zipfile.ZipFile(file, "w") as archive:
        for done, (name, path) in enumerate(sources.items()):
            advance(done, len(sources))
            view = to_bev(
                read_map_or_confidence(path), read_homography(find_calibration(calibration, name))
            )
            archive.writestr(zipfile.ZipInfo(f"{name}.png", _DATE), _png(view))
    advance(len(sources), len(sources))
    return check_submission(out)


def find_maps(predicted: Path) -> dict[str, Path]:
    """Source of every map that the archive needs, by its name there."""
    stems: dict[str, list[str]] = {}
    for path in files_in(predicted, (".png", ".npy")).files:
        stems.setdefault(path.stem, []).append(path.name)
    sources: dict[str, Path] = {}
    for category in SUBMISSION_FRAMES:
        names = expected_names(category)
        if category == "um_lane" and not any(name in stems for name in names):
            continue
        for name in names:
            short = name.replace("_road_", "_")  # the name of the image
            found = [file for stem in dict.fromkeys((name, short)) for file in stems.get(stem, ())]
            if len(found) != 1:
                raise PerceptionError(
                    predicted / f"{name}.png",
                    " and ".join(found) or "no such map",
                    f"one map for each of the {len(names)} frames of {category} in the "
                    "testing part",
                    f"Predict {short}, or remove the other file.",
                )
            sources[name] = predicted / found[0]
    return sources


def check_submission(path: Path) -> Submission:
    """What the server would refuse, one line each; an archive without problems has none."""
    if Path(path).is_dir():
        raise PerceptionError(
            path, "a folder", "a zip archive", "Write it by `perception submit kitti_road`."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _check(archive)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        if not Path(path).is_file():
            raise PerceptionError(
                path, "no such file", "a zip archive", "Write it by `perception submit kitti_road`."
            ) from error
        return Submission({}, (f"the file is no readable zip archive: {error}",))


def _check(archive: zipfile.ZipFile) -> Submission:
    if len(archive.infolist()) > _MOST_MEMBERS:
        return Submission({}, (f"{len(archive.infolist()):,} files in the archive",))
    wanted = {f"{name}.png": c for c in SUBMISSION_FRAMES for name in expected_names(c)}
    maps = dict.fromkeys(SUBMISSION_FRAMES, 0)
    problems, notes, flat = [], [], 0
    seen: set[str] = set()
    for info in archive.infolist():
        name = info.filename
        if name in seen:
            problems.append(f"{name}: twice in the archive")
        elif "/" in name or "\\" in name:
            problems.append(f"{name}: not in the root of the archive")
        elif name not in wanted:
            problems.append(f"{name}: not a name of the testing part")
        else:
            problem, constant = _check_map(archive, info)
            flat += constant
            if problem:
                problems.append(f"{name}: {problem}")
            else:
                maps[wanted[name]] += 1
        seen.add(name)
    for category in SUBMISSION_FRAMES:
        missing = [n for n in expected_names(category) if f"{n}.png" not in seen]
        if category == "um_lane" and len(missing) == SUBMISSION_FRAMES[category]:
            notes.append("no um_lane maps: the archive takes part in the road rankings only")
        elif missing:
            problems.append(
                f"{category}: {len(missing)} of {SUBMISSION_FRAMES[category]} maps are "
                f"missing, first {missing[0]}.png"
            )
    if flat:
        notes.append(f"{flat} maps hold a single value")
    return Submission(maps, tuple(problems), tuple(notes))


def _check_map(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[str, bool]:
    """(what is wrong with a map, whether it holds a single value)."""
    import cv2

    if info.file_size > _MAX_BYTES:
        return f"{info.file_size:,} bytes", False
    try:
        data = archive.read(info)
    except Exception as error:  # zipfile raises seven unrelated kinds on damaged members
        return f"cannot be unpacked ({error})", False
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 26:
        return "no PNG", False
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    if (width, height) != (COLUMNS, ROWS):
        return f"{width}x{height} pixels instead of {COLUMNS}x{ROWS}", False
    if (depth, kind) != (8, 0):
        return f"{depth} bit, PNG colour type {kind}, instead of 8-bit grey", False
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or b"IEND\xaeB`\x82" not in data[-64:]:
        return "a damaged PNG", False
    return "", bool(image.min() == image.max())


def _png(view: NDArray[np.uint8]) -> bytes:
    import cv2

    return cv2.imencode(".png", view, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()
