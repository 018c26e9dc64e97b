from pathlib import Path

import pytest
from omegaconf import OmegaConf

from perception.cli import main
from perception.errors import PerceptionError, UsageError
from perception.experiments.build import build_model
from perception.experiments.config import compose_config, merge_overrides, read_config
from perception.experiments.overrides import sweep_jobs
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


# ---------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("head.semantic.skips={s4: 48}", "head.semantic.skips", {"s4": 48}),
        ("+head.semantic.skips={s4: 48}", "head.semantic.skips", {"s4": 48}),
        ("head.semantic.losses={focal: 1.0}", "head.semantic.losses", {"focal": 1.0}),
        ("head.road.losses={dice: 1.0}", "head.road.losses", {"dice": 1.0}),
        ("head.semantic.class_weights={road: 2.0}", "head.semantic.class_weights", {"road": 2.0}),
        ("balance.task_weights={road: 0.5}", "balance.task_weights", {"road": 0.5}),
        ("balance.task_weights.road=0.5", "balance.task_weights", {"road": 0.5}),
        ("head.semantic.skips.s4=16", "head.semantic.skips", {"s8": 48, "s4": 16}),
        ("head.semantic.skips=null", "head.semantic.skips", None),
        ("data.sets.synthetic.val={split: val, limit: 2}", "data.sets.synthetic.val.limit", 2),
        ("data.sets.synthetic.train.include=um_*", "data.sets.synthetic.train",
         {"split": "train", "include": "um_*"}),
    ],
)  # fmt: skip
def test_a_table_replaces_a_table(override, key, value):
    assert OmegaConf.select(compose_config([override]), key) == value


def test_the_network_has_the_skips_that_were_asked_for_and_no_others():
    config = compose_config(["head.semantic.skips={s4: 48}", "encoder.width=0.35"])

    assert build_model(config).network.head("semantic").skips == ("s4",)


def test_a_table_in_a_file_replaces_that_of_an_earlier_file(own):
    own("experiment/mine", "head: {semantic: {skips: {s4: 48}}}\ntrainer: {ema: 0.9}")

    config = compose_config(["experiment=mine"])

    assert config.head.semantic.skips == {"s4": 48}
    assert config.head.semantic.width == 128
    assert (config.trainer.ema, config.trainer.devices) == (0.9, 1)


@pytest.mark.parametrize(
    ("override", "changed", "kept"),
    [
        ("augment.view={flip: 0.0}", "augment.view.flip", "augment.view.scale"),
        ("augment.steps={noise: null}", "augment.steps.noise", "augment.steps.blur"),
        ("augment.steps.blur={p: 0.2}", "augment.steps.blur.p", "augment.steps.blur.blur_limit"),
        ("trainer={ema: 0.9}", "trainer.ema", "trainer.devices"),
        ("encoder={width: 0.5}", "encoder.width", "encoder.output_stride"),
        ("data.sets.synthetic={batch_size: 2}", "data.sets.synthetic.batch_size",
         "data.sets.synthetic.tasks"),
    ],
)  # fmt: skip
def test_settings_of_one_thing_are_changed_one_by_one(override, changed, kept):
    before, after = compose_config([]), compose_config([override])

    assert OmegaConf.select(after, changed) != OmegaConf.select(before, changed)
    assert OmegaConf.select(after, kept) == OmegaConf.select(before, kept)


def test_sets_given_as_a_table_are_all_sets():
    table = "{mine: {dataset: camvid, root: x, tasks: [road], batch_size: 1}}"

    assert list(compose_config([f"data.sets={table}"]).data.sets) == ["mine"]


@pytest.mark.parametrize("option", ["merge=common", "balanced=true", "sizes=[[64,96]]"])
@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_options_of_a_set_need_no_sign(option, sign):
    key = f"data.sets.synthetic.{option.split('=')[0]}"

    assert OmegaConf.select(compose_config([f"{sign}data.sets.synthetic.{option}"]), key)


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("head=none", "head/road=none, head/lane=none, head/boxes=none, head/semantic=none"),
        ("head.road=none", "head/road=none"),
        ("data.sets=camvid", "data=NAME"),
        ("augment.view=still", "augment.view.KEY=VALUE"),
        ("steps.all=3", "steps=..., which is 1000 now"),
        ("seed=1,2", "Add --multirun"),
        ("~trainer.emma", "a key of the configuration"),
    ],
)
def test_a_value_where_a_table_is_meant_is_answered_with_what_to_write(override, instead):
    with pytest.raises(UsageError) as error:
        compose_config([override])

    assert instead in str(error.value)


# ---------------------------------------------------------------------------- unknown keys


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("+trainer.checkpoint_evry=1", "trainer.checkpoint_evry", "trainer.checkpoint_every"),
        ("+trainer.max_epochs=5", "trainer.max_epochs", "steps"),
        ("+data.merge=common", "data.merge", "data.sets.synthetic.merge"),
        ("++data.sets.synthetic.mege=common", "data.sets.synthetic.mege",
         "data.sets.synthetic.merge"),
        ("+data.sets.synthetic.train={split: train, inclde: a}",
         "data.sets.synthetic.train.inclde", "data.sets.synthetic.train.include"),
        ("+augment.view.flp=1", "augment.view.flp", "augment.view.flip"),
        ("+augment.sizes=[1,1]", "augment.sizes", "augment.size"),
        ("+encoder.depth=5", "encoder.depth", "one of"),
        ("+encoder.widht=5", "encoder.widht", "encoder.width"),
        ("+head.semantic.rate=5", "head.semantic.rate", "head.semantic.rates"),
        ("+head.semantik.width=5", "head.semantik.width", "head.semantic.width"),
        ("+optimizer.encoder_lr=1", "optimizer.encoder_lr", "optimizer.encoder_lr_factor"),
        ("+schedule.powr=1", "schedule.powr", "schedule.power"),
        ("+balance.weights={road: 1}", "balance.weights", "balance.task_weights"),
        ("+logger.project=x", "logger.project", "one that"),
        ("+batch_size=4", "batch_size", "data.sets.synthetic.batch_size"),
        ("lr=1", "lr", "optimizer.lr"),
        ("encodr=resnet18", "encodr", "encoder"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_an_error_wherever_it_stands(override, key, near):
    with pytest.raises(UsageError) as error:
        compose_config([override])

    assert f"{key}: found an unknown configuration key, expected {near}" in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "word", "message"),
    [
        ("experiment/mine", "trainer: {max_epochs: 5, checkpoint_evry: 1}", "experiment=mine",
         "Also unknown: trainer.checkpoint_evry (trainer.checkpoint_every)."),
        ("experiment/mine", "step: 5", "experiment=mine", "step: found an unknown"),
        ("data/mine", "merge: common\nsets: {mine: {root: x}}", "data=mine",
         "data.merge: found an unknown configuration key, expected data.sets.mine.merge"),
        ("data/mine", "sets: {mine: {batch: 2}}", "data=mine", "data.sets.mine.batch_size"),
        ("encoder/mine", "_target_: perception.models.encoders.ResNet\ndeph: 18", "encoder=mine",
         "encoder.deph: found an unknown configuration key, expected encoder.depth"),
        ("trainer/mine", "emma: 0.9", "trainer=mine", "expected trainer.ema"),
        ("optimizer/mine", "_target_: torch.optim.SGD\nmomentun: 0.9", "optimizer=mine",
         "expected optimizer.momentum"),
    ],
)  # fmt: skip
def test_an_unknown_key_in_a_file_is_an_error(file, text, word, message, own):
    own(file, text)

    with pytest.raises(UsageError) as error:
        compose_config([word])

    assert message in str(error.value)


def test_a_stored_run_takes_what_it_left_at_its_default_and_keeps_what_it_has():
    stored = OmegaConf.create({"data": {"sets": {"a": {"root": "x"}}}, "trainer": {"old": 1}})

    assert merge_overrides(stored, ["data.sets.a.merge=common"]).data.sets.a.merge == "common"
    assert merge_overrides(stored, ["trainer.old=2"]).trainer.old == 2
    with pytest.raises(UsageError, match=r"data\.sets\.a\.meerge: .* data\.sets\.a\.merge"):
        merge_overrides(stored, ["+data.sets.a.meerge=common"])


@pytest.mark.parametrize("text", ["", "[]", "3", "encoder: 3", "{encoder: {}, head: []}"])
def test_a_stored_configuration_that_is_none_is_one_line(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)

    with pytest.raises(PerceptionError, match=r"config\.yaml"):
        read_config(tmp_path)


# ---------------------------------------------------------------------------- words and folders


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes choices of one's own into conf/ of the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str, folder: str = "conf") -> Path:
        path = tmp_path / folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        package = "# @package _global_\n" if name.startswith("experiment/") else ""
        path.write_text(package + text)
        return path

    return write


@pytest.mark.parametrize(
    "path", ["~/data/camvid", "~", "dirs/été", "a=b", "a(b", "a [b", "dir#1", "it's", "C:\\data"]
)
def test_a_path_may_hold_any_character(path):
    composed = compose_config([f"data.sets.synthetic.root={path}"])

    assert composed.data.sets.synthetic.root == str(Path(path).expanduser())
    again = compose_config([f'data.sets.synthetic.root="{path}"'])
    assert again.data.sets.synthetic.root == str(Path(path).expanduser())


def test_home_is_known_in_files_and_in_lists(own):
    own("data/mine", "sets: {mine: {root: ~/x, tasks: [road], batch_size: 1}}")

    assert compose_config(["data=mine"]).data.sets.mine.root == str(Path.home() / "x")
    jobs = sweep_jobs(["data.sets.synthetic.root=~/a,~/b"])
    assert [job[0] for job in jobs] == [f"data.sets.synthetic.root={Path.home()}/{n}" for n in "ab"]


@pytest.mark.parametrize("word", ["steps", "[1,2", "seed={a", "seed=[1"])
def test_a_word_that_does_not_parse_is_named(word):
    with pytest.raises(UsageError) as error:
        compose_config(["seed=1", word])

    assert f"overrides: found {word!r}" in str(error.value)


def test_a_sweep_is_every_combination_and_keeps_its_signs():
    words = ["+data.sets.synthetic.balanced=true,false", "seed=3,4", "steps=2"]

    jobs = sweep_jobs(words)

    assert len(jobs) == 4
    assert jobs[0] == ["+data.sets.synthetic.balanced=True", "seed=3", "steps=2"]
    assert [compose_config(job).seed for job in jobs] == [3, 4, 3, 4]


def test_every_job_of_a_sweep_is_checked_before_the_first_one_runs(capsys):
    words = ["train", "encoder=mobilenet_v1,resnet18", "encoder.width=1.0", "--multirun"]

    assert main(words) == 2

    line = capsys.readouterr().err
    assert line.startswith("perception: encoder.width: found an unknown configuration key")
    assert len(line.splitlines()) == 1


def test_cfg_of_a_sweep_prints_every_job(capsys):
    assert main(["train", "seed=3,4", "--cfg", "--multirun"]) == 0

    shown = capsys.readouterr().out
    assert "# seed=3\n" in shown
    assert "seed: 4\n" in shown


def test_choices_in_the_working_directory_are_found_and_shown(own, capsys):
    own("experiment/mine", "defaults: [override /encoder: resnet18]\nsteps: 7")

    config = compose_config(["experiment=mine"])

    assert (config.steps, config.encoder.depth) == (7, 18)
    assert main(["train", "--help"]) == 0
    assert "mine" in capsys.readouterr().out


def test_choices_in_a_named_folder_are_found(own, tmp_path, capsys):
    own("data/mine", "sets: {mine: {root: x, tasks: [road], batch_size: 1}}", "my, settings")

    folder = ["--config-dir", "my, settings"]
    assert main(["train", "data=mine", "--cfg", *folder]) == 0
    assert "mine:" in capsys.readouterr().out
    assert main(["train", "--cfg", "--config-dir=nowhere"]) == 2
    assert "--config-dir nowhere: no such folder" in capsys.readouterr().err


def test_a_folder_of_another_program_is_left_alone(own):
    own("config", "a: 1")
    own("server/ports", "b: 2")

    assert compose_config([]).steps == 1000


@pytest.mark.parametrize("name", ["trainer/default", "experiment/demo"])
def test_a_file_that_a_packaged_one_would_hide_is_refused(name, own):
    path = own(name, "{}")

    with pytest.raises(UsageError, match="the name of a packaged choice") as error:
        compose_config(["experiment=demo"])
    assert str(path) in str(error.value)
