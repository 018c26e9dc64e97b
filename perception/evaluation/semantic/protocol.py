"""The definition of pooled pixel IoU as data."""

from __future__ import annotations

from perception.evaluation.protocol import Protocol

PIXEL = Protocol("semantic/pixel", 1, {"pooling": "pixels of all images"})
