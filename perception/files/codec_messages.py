"""What image libraries in C print about a file, caught; they name no file and raise nothing."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_DAMAGE = ("corrupt jpeg data", "premature end of jpeg", "invalid sos", "libpng error")
_KNOWN = (*_DAMAGE, "libpng warning", "tiff", "webp", "warning: unknown jfif")


def is_damage(message: str) -> bool:
    """Whether a message is about lost pixels, not about a profile or a comment."""
    return message.lower().startswith(_DAMAGE)


@contextmanager
def codec_messages() -> Iterator[list[str]]:
    """A list that holds, after the block, what was printed on standard error in it.

    The handle belongs to the whole process: for programs, not for threads of a library.
    """
    messages: list[str] = []
    try:
        kept = os.dup(2)
    except OSError:  # no standard error
        yield messages
        return
    with tempfile.TemporaryFile() as caught, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(caught.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().decode("utf-8", "replace").splitlines():
                if line.lower().startswith(_KNOWN):
                    messages.append(line)
                elif line:
                    os.write(2, f"{line}\n".encode())
            messages.extend(" ".join(str(w.message).split()) for w in warned)
