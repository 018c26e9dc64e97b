import pytest
from omegaconf import OmegaConf

from perception.cli import main
from perception.errors import UsageError
from perception.experiments.config import compose_config, first_of_sweep, merge_overrides
from perception.files import packaged

EXPERIMENTS = sorted(p.stem for p in packaged("conf", "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_and_its_own_values_win(name):
    """`_self_` stands first in conf/config.yaml: when it stood last, that file's values won."""
    own = OmegaConf.load(packaged("conf", "experiment", f"{name}.yaml"))

    composed = compose_config([f"experiment={name}"])

    for key in own:
        if key != "defaults":
            part = OmegaConf.create({key: own[key]})
            merged = OmegaConf.merge(OmegaConf.create({key: composed[key]}), part)
            assert merged == OmegaConf.create({key: composed[key]}), key
    header = packaged("conf", "experiment", f"{name}.yaml").read_text().split("defaults:")[0]
    assert "Command:" in header
    assert "Machine, time" in header


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "optimizer.lrr=1",
            "optimizer.lrr: found an unknown configuration key, expected optimizer.lr",
        ),
        ("stepz=3", "stepz: found an unknown configuration key, expected steps"),
        (
            "encoder=mobilenet_v3",
            "encoder=mobilenet_v3: found an unknown choice, expected e.g. encoder=mobilenet_v",
        ),
        ("steps", "overrides: found"),
    ],
)
def test_an_unknown_key_is_one_line_with_the_nearest_known(override, message, capsys):
    with pytest.raises(UsageError) as error:
        compose_config([override])

    assert message in str(error.value)
    assert main(["train", override]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_stored_configurations_take_known_keys_only():
    config = OmegaConf.create({"optimizer": {"lr": 0.1}})

    assert merge_overrides(config, ["optimizer.lr=0.2"]).optimizer.lr == 0.2
    with pytest.raises(UsageError, match=r"optimizer\.l: found an unknown .* optimizer\.lr"):
        merge_overrides(config, ["optimizer.l=0.2"])


def test_a_sweep_is_checked_by_its_first_job():
    assert first_of_sweep(["seed=3,4", "steps=2"]) == ["seed=3", "steps=2"]
