"""The Cityscapes benchmarks' definitions as data; the labels are those of `datasets/cityscapes`."""

from __future__ import annotations

import numpy as np

from perception.evaluation.protocol import Protocol
from perception.labels import LabelScheme

CLASSES = 34  # ids 0..33; -1 (license plate) is in no matrix

# Mean pixels of an instance over the training part, by class: weights of iIoU.
AVERAGE_SIZE = {
    "bicycle": 4672.3249222261,
    "caravan": 36771.8241758242,
    "motorcycle": 6298.7200839748,
    "rider": 3930.4788056518,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "car": 12794.0202738185,
    "person": 3462.4756337644,
    "truck": 27855.1264367816,
    "trailer": 16926.9763313609,
}

OVERLAPS = np.arange(0.5, 1, 0.05)  # 10; some are not the doubles nearest to 0.6, 0.65, ...
MIN_INSTANCE_PIXELS = 100  # smaller labelled instances are not asked for
MATCH_OVERLAP = 0.5  # of a panoptic segment, strict

PIXEL = Protocol("cityscapes/pixel", 1, {"classes": 19, "pooling": "pixels of all images"})
INSTANCE = Protocol(
    "cityscapes/instance",
    1,
    {"classes": 8, "overlaps": "0.50:0.05:0.95", "min_pixels": MIN_INSTANCE_PIXELS},
)
PANOPTIC = Protocol("cityscapes/panoptic", 1, {"overlap": f"> {MATCH_OVERLAP}"})


def scored_instances(scheme: LabelScheme) -> dict[int, str]:
    """Id and name of the classes whose instances are scored."""
    return {c.id: c.name for c in scheme.classes if c.has_instances and not c.ignore}
