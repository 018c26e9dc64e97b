"""Every case of the folder of reference outputs, when it stands beside the repository."""

import fnmatch
import json
import math

import numpy as np
import pytest

from perception.files import plain, read_raster
from tests.golden import requests_boxes, requests_pixels
from tests.golden.adapter import answer
from tests.shared import ROOT

FOLDER = ROOT.parent / "shared" / "golden"
ANSWERED = {**requests_pixels.ANSWERS, **requests_boxes.ANSWERS}
CASES = sorted(
    path.parent.name
    for path in FOLDER.glob("*/request.json")
    if json.loads(path.read_text())["protocol"] in ANSWERED
)


def differences(got, want, path, tolerances):
    """One line per value that differs; keys that only `got` has are fine."""
    if isinstance(want, dict):
        for key, value in want.items():
            inner = f"{path}.{key}" if path else key
            if not isinstance(got, dict) or key not in got:
                yield f"{inner}: missing"
            else:
                yield from differences(got[key], value, inner, tolerances)
    elif isinstance(want, list):
        if len(got) != len(want):
            yield f"{path}: {len(got)} entries, expected {len(want)}"
        for i, (a, b) in enumerate(zip(got, want, strict=False)):
            yield from differences(a, b, f"{path}.{i}", tolerances)
    elif isinstance(want, float) or isinstance(got, float):
        tolerance = next((t for p, t in tolerances.items() if fnmatch.fnmatch(path, p)), 1e-9)
        if (
            got is None
            or want is None
            or math.isnan(got)
            or (abs(got - want) > tolerance * max(1, abs(want)))
        ):
            yield f"{path}: {got!r}, expected {want!r}"
    elif got != want:
        yield f"{path}: {got!r}, expected {want!r}"


@pytest.mark.parametrize("case", CASES)
def test_reference_output(case, tmp_path):
    expected = json.loads((FOLDER / case / "expected.json").read_text())

    reply = plain(answer(FOLDER / case / "request.json", tmp_path))

    if "error" in expected:
        message = reply["error"]["message"].lower()
        assert [m for m in expected["error"]["mentions"] if m.lower() not in message] == []
        return
    tolerances = {**expected.get("tolerance", {}), "*": expected.get("default", 1e-9)}
    assert list(differences(reply["result"], expected["result"], "", tolerances)) == []
    if "image_equal" in expected:
        image = read_raster(tmp_path / reply["result"]["image"])
        np.testing.assert_array_equal(image, read_raster(FOLDER / case / expected["image_equal"]))
