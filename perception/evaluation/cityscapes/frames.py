"""The file names of Cityscapes: `<city>_<sequence>_<frame>_...`, anywhere below a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import files_below, find_image, read_image
from perception.labels import LabelScheme, load_scheme

BESIDE = (  # names of the data set that stand beside each other
    "_color.png",
    "_labelids.png",
    "_instanceids.png",
    "_labeltrainids.png",
    "_polygons.json",
)


def cityscapes_scheme() -> LabelScheme:
    """The official table."""
    return load_scheme("cityscapes")


def labelled_frames(folder: Path, suffix: str) -> dict[str, Path]:
    """Label images by frame ("aachen_000000_000019"), sorted by frame.

    Raises:
        PerceptionError: there is none, or two of one frame.
    """
    frames: dict[str, Path] = {}
    found = files_below(folder, (suffix.lower(),))
    for path in found.files:
        frame = path.name[: -len(suffix)]
        if frame in frames:
            raise PerceptionError(
                path,
                f"a second label of {frame}",
                f"only {frames[frame]}",
                "Remove one of the two.",
            )
        frames[frame] = path
    if not frames:
        raise PerceptionError(
            folder,
            f"no file that ends in {suffix}" + f", but {found.left_out}" * bool(found.left_out),
            "labels of Cityscapes",
            "Give a folder of gtFine, or the end of the names by --gt-suffix.",
        )
    return dict(sorted(frames.items()))


def inventory(frames: Iterable[str], predicted: Iterable[Path], folder: Path) -> str:
    """How many files were matched and how many were not asked for."""
    wanted = set(frames)
    lengths = {len(frame) for frame in wanted}
    extra = [p for p in predicted if not any(p.name[:n] in wanted for n in lengths)]
    more = f" (e.g. {extra[0].relative_to(folder)})" if extra else ""
    return f"{len(wanted)} frames matched, 0 missing, {len(extra)} files not asked for{more}"


def photograph(label: Path, suffix: str) -> NDArray[np.uint8] | None:
    """The camera image of a label, where the data set lies in its official layout."""
    folder = Path(*("leftImg8bit" if part == "gtFine" else part for part in label.parent.parts))
    path = find_image(folder, f"{label.name[: -len(suffix)]}_leftImg8bit")
    return None if path is None else read_image(path)
