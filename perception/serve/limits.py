"""What the server accepts, and how it refuses the rest: one sentence and a 4xx code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one request, so that no request can take the server down."""

    megabytes: float = 20.0  # of the body
    megapixels: float = 25.0  # of the image
    seconds: float = 30.0  # from the body's last byte to the answer
    waiting: int = 64  # requests that may wait for the network at once


class RequestError(Exception):
    """A request that is not answered: a status code and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
