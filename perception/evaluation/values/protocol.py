"""The definition of errors of numbers per pixel as data."""

from __future__ import annotations

from perception.evaluation.protocol import Protocol

VALUES = Protocol("values/pixel", 1, {"pooling": "known pixels of all images", "ratio": 1.25})
