"""Calibration files carried along to the name of the frame they belong to."""

from __future__ import annotations

from perception.annotation.interfaces import Settings
from perception.formats.problems import Problem


def calibration_output(
    name: str, stem: str, settings: Settings
) -> tuple[dict[str, bytes], list[Problem]]:
    """`DIR/<stem>.txt` as `training/calib/<name>.txt`, where a folder was given."""
    if settings.calibration is None:
        return {}, []
    path = settings.calibration / f"{stem}.txt"
    try:
        return {f"training/calib/{name}.txt": path.read_bytes()}, []
    except (OSError, ValueError):
        return {}, [Problem("calibration_missing", f"no {stem}.txt in the folder of --calib")]
