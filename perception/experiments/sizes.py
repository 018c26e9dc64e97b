"""Whether prediction sees objects as large as training showed them (docs/sizes.md)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from perception.data.build import TaskSet
from perception.errors import PerceptionError
from perception.files import image_size

TOLERANCE = 1.1  # a tenth larger or smaller is no difference


def check_sizes(sets: Sequence[TaskSet], size: tuple[int, int] | None) -> None:
    """Compares the scales of training with that of prediction, by the first image of each set.

    size: `input_size`; None: images are predicted in their own pixels.

    Raises:
        PerceptionError: training shows one scale only, prediction another, and no `input_size` says
            that this is meant. Where training draws from a range, a line on stderr tells.
    """
    for task_set in sets:
        image = image_size(task_set.train.frames[0].image)
        view, out = task_set.augment.view, task_set.augment.size
        base = view.base(image, out)
        low, high = (base * scale for scale in view.scale)
        predicted = 1.0 if size is None else size[0] / image[0]
        if low / TOLERANCE <= predicted <= high * TOLERANCE:
            continue
        fitting = [round(base * side) for side in image]
        found = f"images of {task_set.name} trained at {_shown(low, high)} of their size"
        seen = f"predicted at {predicted:.2f}"
        if low == high and size is None:
            raise PerceptionError(
                "input_size",
                f"null: {found}, {seen}",
                f"input_size={fitting}",
                "See docs/sizes.md.",
            )
        print(f"perception: note: {found}, {seen} (docs/sizes.md)", file=sys.stderr)


def _shown(low: float, high: float) -> str:
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
