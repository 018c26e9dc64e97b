"""KITTI calibration files: camera and sensor matrices of one frame, `NAME: v v v ...` per line.

Object files hold P0..P3, R0_rect, Tr_velo_to_cam, Tr_imu_to_velo; road files add Tr_cam_to_road.
Whatever is there is read; what is needed and absent is an error where it is asked for
(`Calibration.matrix`). Source: readme of the KITTI object and road development kits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perception.errors import PerceptionError
from perception.files import read_text, write_text
from perception.structures import Calibration, Float

SHAPES = {
    "P0": (3, 4), "P1": (3, 4), "P2": (3, 4), "P3": (3, 4), "R0_rect": (3, 3),
    "Tr_velo_to_cam": (3, 4), "Tr_imu_to_velo": (3, 4), "Tr_cam_to_road": (3, 4),
}  # fmt: skip


def read_calibration(path: Path) -> Calibration:
    """The matrices of one calibration file; names that are not KITTI's are passed over.

    Raises:
        PerceptionError: no text file; a line without colon; a matrix given twice, with a wrong
            number of values or with something that is no finite number (names file and matrix).
    """
    matrices: dict[str, Float] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, rest = line.partition(":")
        name = name.strip()
        if not colon or ":" in rest:
            raise PerceptionError(
                f"{path}, line {number}", f"{line.count(':')} colons", "NAME: v v v"
            )
        if name in matrices:
            raise PerceptionError(
                f"{path}: {name}",
                "the matrix a second time",
                "one line per matrix",
                "Remove one of the two.",
            )
        if name in SHAPES:
            matrices[name] = _matrix(path, name, rest.split())
    return Calibration(matrices, Path(path))


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Writes every matrix of `calibration`, with 12 decimals of exponent notation as KITTI does."""
    write_text(path, format_calibration(calibration))


def format_calibration(calibration: Calibration) -> str:
    """The text of a calibration file."""
    lines = [
        f"{name}: " + " ".join(f"{value:.12e}" for value in np.ravel(matrix))
        for name, matrix in calibration.matrices.items()
    ]
    return "\n".join(lines) + "\n"


def _matrix(path: Path, name: str, words: list[str]) -> Float:
    shape = SHAPES[name]
    if len(words) != shape[0] * shape[1]:
        raise PerceptionError(
            f"{path}: {name}",
            f"{len(words)} values",
            f"{shape[0] * shape[1]}",
            "Use an undamaged copy of the file.",
        )
    try:
        matrix = np.array([float(word) for word in words]).reshape(shape)
    except ValueError:
        matrix = np.full(shape, np.nan)
    if not np.isfinite(matrix).all():
        raise PerceptionError(
            f"{path}: {name}",
            " ".join(words),
            "finite numbers",
            "Use an undamaged copy of the file.",
        )
    return matrix
