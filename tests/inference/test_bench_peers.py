"""scripts/bench_peers.py on a few frames and a detector that always says the same."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from perception.files import write_image, write_text
from tests.inference.detectors import detector, yolox_rows
from tests.shared import ROOT

CAR = "Car 0.00 0 -10 {} {} {} {} -1 -1 -1 -1000 -1000 -1000 -10\n"


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench", ROOT / "scripts" / "bench_peers.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench", module)
    spec.loader.exec_module(module)
    return module


def test_a_detector_is_scored_whole_and_in_tiles_on_the_frames_there_are(bench, tmp_path, capsys):
    for frame in range(41):
        write_image(
            tmp_path / f"training/image_2/{frame:06d}.png", np.zeros((128, 256, 3), np.uint8)
        )
        write_text(tmp_path / f"training/label_2/{frame:06d}.txt", CAR.format(48, 32, 112, 96))
    sees = yolox_rows((1, 2, 20, 16, 16, 16, 0, 0.9))
    net = detector(tmp_path / "net.onnx", sees, (32, 64), {"names": "['car', 'person']"})
    out = tmp_path / "rows.json"

    words = [
        "--kitti-object",
        str(tmp_path),
        "--onnx",
        str(net),
        "--tiles",
        "2",
        "--bootstrap",
        "3",
    ]
    assert bench.main([*words, "--json", str(out)]) == 0

    lines = capsys.readouterr().out.splitlines()
    whole, tiled = json.loads(out.read_text())
    assert len(lines) == 4 and lines[2].startswith("| net | its own |")
    assert whole["frames"] == 41
    np.testing.assert_allclose(whole["car"], 100)  # R40 wants more than 40 objects
    assert whole["spread"]["car moderate"][1] == pytest.approx(100)
    assert tiled["car"][1] < 60  # the second tile shows a car where there is none
    assert whole["net"] == "net" and tiled["net"] == "net, 2 tiles + whole"


def test_without_a_net_it_says_which_options_name_one(bench, tmp_path):
    with pytest.raises(SystemExit, match="--onnx"):
        bench.main(["--kitti-object", str(tmp_path)])
