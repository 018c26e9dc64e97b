"""Answers one evaluator case: reads a JSON request, scores through the public API, writes JSON.

python tests/golden/adapter.py REQUEST RESPONSE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from perception.errors import PerceptionError
from perception.files import write_json
from tests.golden import requests_boxes, requests_pixels

ANSWERS = {**requests_pixels.ANSWERS, **requests_boxes.ANSWERS}


def answer(request_file: Path, out: Path) -> dict[str, Any]:
    """The response to one request; pictures are written into the folder `out`."""
    request = json.loads(request_file.read_text())
    try:
        reply = ANSWERS[request["protocol"]](request, request_file.parent, out)
    except PerceptionError as error:
        return {"error": {"message": str(error)}}
    return {"result": reply}


if __name__ == "__main__":
    request_file, response_file = (Path(word).resolve() for word in sys.argv[1:3])
    write_json(response_file, answer(request_file, response_file.parent))
