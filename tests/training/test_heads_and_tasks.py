"""Heads and tasks belong together: nothing is predicted from random weights, nothing vanishes."""

import numpy as np
import pytest
import torch

from perception import load
from perception.cli import main
from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.build import build
from perception.experiments.initialize import initialize
from perception.experiments.meters import METERS
from perception.files import read_json
from perception.inference.write import write_prediction
from perception.structures import Prediction, ValuesLabel, ValuesResult
from perception.tasks import Kind, Task

ROAD = "data.sets.synthetic.tasks=[road]"
BOXES = "data.sets.synthetic.tasks=[boxes]"


def test_a_usual_head_without_a_task_is_left_out(tiny):
    assert build(tiny(ROAD)).model.tasks == ("road",)
    assert build(tiny(BOXES)).model.tasks == ("boxes",)


@pytest.mark.parametrize("word", ["head/lane=fcn", "head/road@head.lame=fcn"])
def test_any_other_head_without_a_task_is_an_error(tiny, word):
    with pytest.raises(PerceptionError, match=r"head\.la.e: found a head without a task") as error:
        build(tiny(word, ROAD))
    assert str(error.value).rstrip(".").endswith("data.sets.*.tasks: road")


def test_the_name_of_a_method_of_torch_is_no_task(tiny):
    with pytest.raises(PerceptionError, match="task values: found a name that torch keeps"):
        build(tiny("head/road@head.values=fcn", "data.sets.synthetic.tasks={values: road}"))


def test_a_head_of_another_kind_than_its_labels_is_refused(tiny):
    words = ["head/semantic@head.drive=deeplab_v3", "data.sets.synthetic.tasks={drive: road}"]
    with pytest.raises(PerceptionError, match=r"head\.drive: found a head of the kind classes"):
        build(tiny(*words))


def test_a_run_with_an_untrained_head_still_loads_and_does_not_predict_it(tiny, words, capsys):
    """Earlier versions stored a road head that no data set trained."""
    assert main(["train", *words(BOXES, "steps=1", run="old")]) == 0
    folder = tiny(run="old").run_dir
    whole = build(tiny("data.sets.synthetic.tasks=[road,boxes]")).model
    path = f"{folder}/last.pt"
    state = checkpoint.load(path)
    surplus = {k: v for k, v in whole.state_dict().items() if k.startswith("heads.road.")}
    state["evaluated"] |= surplus
    state["weights"] |= surplus
    state.pop("version")
    checkpoint.save(path, state)

    model = load(folder, device="cpu")
    capsys.readouterr()
    other = build(tiny(BOXES)).model
    initialize(other, path)

    assert model.tasks == ("boxes",)
    assert "left over, no data set has the task: heads.road" in capsys.readouterr().out
    key = "encoder.features.0.0.weight"
    key = key if key in state["evaluated"] else next(iter(state["evaluated"]))
    assert torch.equal(other.state_dict()[key], state["evaluated"][key])
    assert main(["train", f"resume={folder}", "steps=2"]) == 0


def test_numbers_that_do_not_fit_into_the_png_are_counted(tmp_path):
    values = np.array([[0.5, 300.0], [np.nan, 0.0]], np.float32)
    prediction = Prediction("a", (2, 2), depth=ValuesResult(values, "m"))

    assert write_prediction(prediction, tmp_path) == {"depth": 2}

    told = read_json(tmp_path / "json/a.json")["depth"]
    assert told == {"least": 0.0, "median": 0.5, "greatest": 300.0, "unit": "m", "clipped": 2}
    np.testing.assert_array_equal(np.load(tmp_path / "depth/a.npy"), values)


def test_a_number_that_is_none_stops_the_scoring_in_one_line():
    meter = METERS[Kind.VALUES](Task("depth", Kind.VALUES, "m"), None, ())
    label = ValuesLabel(np.array([[1, 2], [np.nan, 4]], np.float32), "m")
    meter.update("a", ValuesResult(np.array([[1, 2], [np.inf, 4]], np.float32)), label)

    with pytest.raises(PerceptionError, match="frame b: depth: found no finite number at 1 of 3"):
        meter.update("b", ValuesResult(np.array([[1, np.inf], [np.inf, 4]], np.float32)), label)

    assert meter.metrics()["mean_absolute_error"] == 0
