"""Numbers per pixel (depth): errors pooled over the known pixels of all images."""

from perception.evaluation.values.errors import ValueErrors
from perception.evaluation.values.protocol import VALUES

__all__ = ["VALUES", "ValueErrors"]
