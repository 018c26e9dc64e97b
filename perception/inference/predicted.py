"""A prediction that knows its image: drawn, saved, and handed on to other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.annotation.prelabel import PrelabelSettings, prelabel
from perception.errors import PerceptionError
from perception.files import write_image
from perception.formats.labelme import document
from perception.inference.write import write_prediction
from perception.report.overlay import draw_prediction
from perception.structures import Image, Prediction, Result

FORMATS = ("files", "overlay")


@dataclass(frozen=True, init=False)
class Predicted(Prediction):
    """What `Model.predict` returns: a `Prediction` together with its image."""

    image: Image  # where it was read from, or its pixels
    classes: Mapping[str, Sequence[str]]  # of the tasks with boxes, in the model's order

    def __init__(
        self,
        key: str,
        size: tuple[int, int],
        *,
        results: Mapping[str, Result],
        image: Image,
        classes: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(key, size, results=results)
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "classes", classes)

    def draw(self, *, score: float = 0.4) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: the image with all results drawn in, boxes from `score` on."""
        return draw_prediction(self.image.read(), self, score=score)

    def save(self, folder: Path | str, *, formats: Sequence[str] = FORMATS) -> None:
        """Writes below `folder` what `perception predict` writes, under the name `key`.

        `formats`: "files" (a folder per task, and json/), "overlay" (overlays/KEY.png), or both.

        Raises:
            ValueError: another format, or a prediction without a key.
            PerceptionError: something cannot be written.
        """
        formats = [formats] if isinstance(formats, str) else formats
        if unknown := [name for name in formats if name not in FORMATS]:
            raise ValueError(f"expected formats from {', '.join(FORMATS)}, got {unknown[0]}")
        if not self.key:
            raise ValueError("a prediction of pixels has no name: predict(image, key=NAME)")
        folder = Path(folder).expanduser()
        if "files" in formats:
            write_prediction(self, folder)
        if "overlay" in formats:
            write_image(folder / "overlays" / f"{self.key}.png", self.draw())

    def to_labelme(self, *, score: float = 0.5) -> dict[str, Any]:
        """The JSON object of a labelme file: simplified polygons, and boxes from `score` on."""
        name = self.image.path.name if self.image.path else f"{self.key or 'image'}.png"
        shapes, _ = prelabel(self, PrelabelSettings(score=score))
        return dict(document(shapes, name, self.size).content)

    def to_supervision(self, task: str = "boxes") -> Any:
        """The boxes as `supervision.Detections`: class numbers are the model's, names in `data`.

        Raises:
            PerceptionError: the package supervision is not installed.
            KeyError: no boxes were predicted.
        """
        try:
            import supervision
        except ImportError:
            raise PerceptionError(
                "to_supervision", "no package supervision", do="pip install supervision"
            ) from None
        boxes: Any = self.results[task]
        names = list(self.classes[task])
        return supervision.Detections(
            xyxy=boxes.xyxy.astype(np.float32),
            confidence=boxes.score.astype(np.float32),
            class_id=np.array([names.index(name) for name in boxes.names], int),
            data={"class_name": boxes.names},
        )
