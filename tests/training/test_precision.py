"""The number format that `trainer.precision=auto` chooses, by what the hardware says it has."""

import pytest

from perception.cli import main
from perception.experiments.config import read_config
from perception.training import precision
from perception.training.precision import choose_precision, device_of


def cpu(monkeypatch, *features):
    monkeypatch.setattr(precision, "cpu_features", lambda: frozenset(features))


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_with_bfloat16_instructions_gets_them(monkeypatch, feature):
    cpu(monkeypatch, "avx2", feature)

    chosen = choose_precision("auto", "cpu")

    assert (chosen.setting, chosen.why) == ("bf16-mixed", f"this CPU has {feature}")


def test_a_cpu_without_them_gets_float32(monkeypatch):
    cpu(monkeypatch, "avx2", "avx512f")

    chosen = choose_precision("auto", "cpu")

    assert chosen.setting == "32-true"
    assert "neither avx512_bf16 nor amx_bf16" in chosen.why
    assert not chosen.slow


@pytest.mark.parametrize(
    ("capability", "setting"), [((7, 5), "32-true"), ((8, 0), "bf16-mixed"), ((9, 0), "bf16-mixed")]
)
def test_a_gpu_is_asked_for_its_capability(monkeypatch, capability, setting):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "GPU")

    assert choose_precision("auto", "cuda").setting == setting


@pytest.mark.parametrize(
    ("wanted", "slow"), [("bf16-mixed", True), ("16-mixed", True), ("32-true", False)]
)
def test_what_is_set_is_kept_and_known_to_be_slow(monkeypatch, wanted, slow):
    cpu(monkeypatch, "avx2")

    chosen = choose_precision(wanted, "cpu")

    assert (chosen.setting, chosen.slow) == (wanted, slow)


def test_the_accelerator_says_the_device(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)

    assert [device_of(name) for name in ("auto", "cpu", "cuda", "mps")] == [
        "cpu",
        "cpu",
        "cuda",
        "mps",
    ]


def test_a_run_says_what_it_chose_and_keeps_it(words, tmp_path, monkeypatch, capsys):
    cpu(monkeypatch, "avx2")

    assert main(["train", *words("steps=1", "trainer.precision=auto")]) == 0

    assert "precision: 32-true (this CPU has neither" in capsys.readouterr().out
    assert read_config(tmp_path / "run").trainer.precision == "32-true"


def test_a_slow_choice_is_warned_of_once(words, monkeypatch, capsys):
    cpu(monkeypatch, "avx2")

    assert main(["train", *words("steps=1", "trainer.precision=bf16-mixed")]) == 0

    assert capsys.readouterr().err.count("trainer.precision=auto chooses what is fast here") == 1


@pytest.mark.parametrize("balance", ["gradnorm", "pcgrad"])
def test_balances_that_look_at_gradients_train_in_mixed_precision(words, balance):
    quick = ("head.boxes=null", "data.sets.synthetic.tasks=[road,semantic]", "steps=1")

    assert (
        main(["train", *words(*quick, f"balance={balance}", "trainer.precision=bf16-mixed")]) == 0
    )


@pytest.mark.parametrize("wanted", ["bf16-true", "16-true", "transformer-engine", "float32"])
def test_weights_of_half_precision_are_refused_in_one_line(words, capsys, wanted):
    assert main(["train", *words(f"trainer.precision={wanted}")]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert f"trainer.precision: found {wanted}, expected one of auto, 32-true, bf16-mixed" in line


@pytest.mark.parametrize("ema", [1, 1.0, 2])
def test_an_average_that_averages_nothing_is_refused(words, capsys, ema):
    assert main(["train", *words(f"trainer.ema={ema}")]) == 1

    assert f"trainer.ema: found {ema}, expected a share between" in capsys.readouterr().err
