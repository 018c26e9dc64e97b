"""Loading a run of somebody else calls nothing but this program's own classes."""

from __future__ import annotations

import pytest
import yaml

import perception
from perception.cli import main
from perception.errors import PerceptionError
from perception.experiments.config import read_config
from perception.experiments.trust import check_stored
from perception.files import read_yaml, write_text
from perception.training.loop import train


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "setuptools._distutils.spawn.spawn",
        "pathlib.Path.write_text",
        "perception.files.write_text",
        "perception.experiments.checkpoint.save",
        "perception.training.loop.export_weights",
        "perception.training.logs.csv.DictWriter",
        "perception.training.start.Path",
        "perception.models.weights.torch.hub.load",
        "perception.data.loader.os.system",
        "torch.optim.optimizer.torch.hub.load",
        "torch.hub.load",
        "albumentations.os.system",
        "perception.models.heads.${oc.env:HOME}",
        ["os.system"],
        None,
    ],
)
def test_a_target_that_is_no_class_of_ours_is_refused(target, tmp_path):
    content = {"encoder": {"frozen": [{"_target_": target, "_args_": [["touch", "x"]]}]}}

    with pytest.raises(PerceptionError, match="_target_: found"):
        check_stored(content, tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "target",
    [
        "perception.models.encoders.MobileNetV2",
        "perception.models.heads.FastBox",
        "perception.training.optim.Poly",
        "perception.training.logs.CsvLogger",
        "perception.data.augment.Augment",
        "torch.optim.AdamW",
        "albumentations.OneOf",
    ],
)
def test_the_classes_of_the_packaged_choices_are_allowed(target, tmp_path):
    check_stored({"a": {"_target_": target}}, tmp_path)


def test_values_that_compute_are_refused(tmp_path):
    content = {"encoder": "${oc.create:${oc.decode:'{_target_: os.system}'}}"}

    with pytest.raises(PerceptionError, match="expected a plain value"):
        check_stored(content, tmp_path)


@pytest.fixture
def hostile(tiny, tmp_path):
    """A trained run whose configuration would write a file."""
    folder = train(tiny("steps=1"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    mark = tmp_path / "mark"
    call = {"_target_": "perception.files.write_text", "path": str(mark), "text": "x"}
    config["encoder"]["frozen_batch_norm"] = call
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    return folder, mark


@pytest.mark.parametrize("verb", ["evaluate", "predict", "resume", "load"])
def test_loading_a_hostile_run_runs_nothing(hostile, streets, verb, capsys):
    folder, mark = hostile
    image = next((streets / "kitti_object" / "training" / "image_2").iterdir())
    if verb == "load":
        with pytest.raises(PerceptionError, match="trust=true"):
            perception.load(folder)
    else:
        words = {
            "evaluate": ["evaluate", str(folder)],
            "predict": ["predict", str(folder), str(image)],
            "resume": ["train", f"resume={folder}", "steps=2"],
        }
        assert main(words[verb]) == 1
        assert "frozen_batch_norm._target_: found" in capsys.readouterr().err
    assert not mark.exists()


def test_trust_allows_it(hostile, capsys):
    folder, mark = hostile

    read_config(folder, trust=True)
    main(["train", f"resume={folder}", "steps=2", "trust=true"])

    assert mark.exists()


def test_a_bomb_of_yaml_aliases_is_one_line(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    (tmp_path / "circle.yaml").write_text("a: &a [*a]")

    for name in ("config.yaml", "circle.yaml"):
        with pytest.raises(PerceptionError, match=rf"{name}: .*aliases"):
            read_yaml(tmp_path / name)
