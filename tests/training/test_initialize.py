"""Starting from the weights of another run: whole, in part, and never in silence."""

from __future__ import annotations

import pytest
import torch

from perception.cli import main
from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.config import compose_config
from perception.experiments.initialize import initialize, load_part
from perception.training.loop import start, train


@pytest.fixture
def run(tiny):
    return train(tiny("steps=1", run="first"))


def net():
    heads = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3)})
    return torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "heads": heads})


def test_a_part_is_loaded_and_the_rest_is_listed(tmp_path):
    ours, theirs = net(), net()
    theirs["heads"]["b"] = torch.nn.Linear(1, 1)

    done = load_part(ours, theirs.state_dict(), tmp_path, only=["encoder"])

    assert torch.equal(ours["encoder"].weight, theirs["encoder"].weight)
    assert done.loaded == ("encoder.weight", "encoder.bias")
    assert done.anew == ("heads.a.weight", "heads.a.bias")
    assert set(done.left_over) == {f"heads.{h}.{p}" for h in "ab" for p in ("weight", "bias")}
    assert "initialised anew      2  heads.a (2)" in done.table()


def test_what_fits_is_loaded_and_another_shape_is_not(tmp_path):
    ours, theirs = net(), net()
    theirs["heads"]["a"] = torch.nn.Linear(2, 5)

    done = load_part(ours, theirs.state_dict(), tmp_path, fitting=True)

    assert done.loaded == ("encoder.weight", "encoder.bias")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"except": ["heads.c"]}, "no weights below heads.c"),
        ({"only": ["enc"]}, "no weights below enc"),
        ({"only": ["encoder", "heads.a"]}, r"shape \(heads.a.weight \(5, 2\) instead of \(3, 2\)"),
        ({"mode": "some"}, "initialize.mode: found some"),
        ({"onyl": ["encoder"]}, "initialize.onyl: found an unknown key"),
    ],
)
def test_what_cannot_be_done_is_named(settings, message, tmp_path):
    theirs = net()
    theirs["heads"]["a"] = torch.nn.Linear(2, 5)
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"evaluated": theirs.state_dict(), "step": 1})

    with pytest.raises(PerceptionError, match=message):
        initialize(net(), {"from": str(path), **settings})


def test_words_describe_one_table():
    config = compose_config(["initialize=runs/a-b/1", "initialize.only=[encoder,heads.road]"])

    assert config.initialize == {"from": "runs/a-b/1", "only": ["encoder", "heads.road"]}
    assert compose_config(["initialize=a.pt"]).initialize == "a.pt"


def test_a_run_starts_from_the_folder_of_another(tiny, run):
    wanted = checkpoint.load(run / "last.pt")["evaluated"]

    second = start(tiny(f"initialize={run}", run="second"))

    for name, value in second.inner.model.state_dict().items():
        assert torch.equal(value, wanted[name]), name


@pytest.mark.parametrize(
    ("more", "listed"),
    [
        (("initialize.except=[heads.semantic.logits]",), "heads.semantic.logits (2)"),
        (("initialize.only=[encoder]",), "heads.boxes"),
        (
            ("initialize.except=[heads.boxes]", "data.sets.synthetic.tasks=[road,semantic]"),
            "heads.boxes.",
        ),
    ],
)
def test_the_lines_of_the_page_work_as_they_are_written(tiny, run, more, listed, capsys):
    train(tiny("steps=1", f"initialize={run}", *more, run="second"))

    table = capsys.readouterr().out.split("weights of ")[1]
    assert listed in table


@pytest.mark.parametrize("name", ["", "last.pt", "model.safetensors"])
def test_an_encoder_starts_from_a_run(tiny, run, name):
    wanted = checkpoint.load(run / "last.pt")["evaluated"]

    second = start(tiny(f"encoder.weights={run / name}", run="second"))

    for key, value in second.inner.model.encoder.state_dict().items():
        assert torch.equal(value, wanted[f"encoder.{key}"]), key


def test_weights_of_a_run_that_trained_nothing_are_refused(tiny, capsys):
    run = start(tiny())
    run.claim.release()

    assert main(["evaluate", str(run.folder)]) == 1
    assert "last.pt: found step 0" in capsys.readouterr().err
