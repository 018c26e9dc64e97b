"""Small data sets on disk, drawn by the tests."""

from pathlib import Path

import numpy as np

from perception.files import write_image


def camvid(root: Path, frames: int = 4, size: tuple[int, int] = (24, 32)) -> Path:
    """A CamVid folder; image channel 0 holds 20 * class id, so that drift can be seen."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for n in range(frames):
            ids = rng.integers(0, 12, (size[0] // 8, size[1] // 8), np.uint8)
            ids = ids.repeat(8, 0).repeat(8, 1)
            image = np.stack([ids * 20, ids * 0, ids * 0], axis=2)
            write_image(root / part / f"A_{n:03d}.png", image)
            write_image(root / f"{part}annot" / f"A_{n:03d}.png", ids)
    (root / "all.txt").write_text("".join(f"A_{n:03d}\n" for n in range(frames)))
    return root
