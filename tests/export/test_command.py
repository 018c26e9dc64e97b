import json

import pytest

from perception.cli import main
from perception.cli.teachers import open_teacher
from perception.errors import PerceptionError
from perception.export import parity
from perception.export.write import Settings, Written, write_model
from perception.inference.exported import ExportedModel
from perception.inference.model import Model
from perception.runs import export
from perception.runs.evaluate import evaluate_file
from tests.export.networks import network


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no RUN"),
        (["run", "format=tflite"], "onnx, openvino or torch"),
        (["run", "size=384"], "HEIGHTxWIDTH"),
        (["run", "size=0x32"], "HEIGHTxWIDTH"),
        (["run", "nms=maybe"], "true or false"),
        (["run", "half=true", "format=torch"], "format=onnx or openvino"),
        (["run", "images=0"], "at least 1"),
        (["run", "max_drop=-1"], "at least 0"),
    ],
)
def test_wrong_words_are_wrong_usage(words, said, capsys):
    assert main(["export", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_run_is_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_files_work_where_runs_do(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    settings = Settings(size=(32, 40), nms=False)
    write_model(Model(network("anchor_free")), path, settings, run="r")

    assert isinstance(open_teacher(path), ExportedModel)
    with pytest.raises(PerceptionError, match="no run above it"):
        evaluate_file(path)
    found = open_teacher(path).predict(_image())
    assert found.size == (60, 70)


def test_a_refused_file_leaves_the_good_one_and_its_report(tmp_path, monkeypatch):
    model = Model(network("anchor_free"))
    versions = iter([b"good", b"bad"])

    def write(_, path, *__, **___):
        path.write_bytes(next(versions))
        return Written(path, {}, {})

    monkeypatch.setattr(export, "_opened", lambda *_: (model, None, "there are no data"))
    monkeypatch.setattr(export, "find_checkpoint", lambda *_: (tmp_path, tmp_path / "last.pt"))
    monkeypatch.setattr(export, "write_model", write)
    monkeypatch.setattr(export, "load_exported", lambda *_, **__: model)
    good = export.export_run(tmp_path, None, Settings())
    monkeypatch.setattr(parity, "too_far", lambda _: ["boxes differ"])

    bad = export.export_run(tmp_path, None, Settings())

    assert (good.problems, bad.problems) == ((), ("boxes differ",))
    files = {p.name: p for p in (tmp_path / "export").iterdir()}
    assert {n: f.read_bytes() for n, f in files.items() if not n.endswith(".json")} == {
        "model.onnx": b"good",
        "model.onnx.refused": b"bad",
    }
    told = {n: json.loads(f.read_text())["refused"] for n, f in files.items() if ".json" in n}
    assert told == {"model.onnx.json": [], "model.onnx.refused.json": ["boxes differ"]}


def _image():
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
