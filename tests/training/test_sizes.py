import pytest

from perception.cli import main
from perception.errors import PerceptionError
from perception.experiments.build import build


def test_training_at_half_the_size_of_prediction_is_refused(tiny):
    """The streets have 208x64 pixels; without a view the whole image is scaled to fit."""
    with pytest.raises(PerceptionError) as error:
        build(tiny("augment=none", "augment.size=[32,104]"))

    assert "input_size: found null: images of synthetic trained at 0.50" in str(error.value)
    assert "expected input_size=[32, 104]" in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ("augment=none", "augment.size=[64,208]"),
        ("augment=none", "augment.size=[96,208]"),  # padded below: the scale is the same
        ("augment=none", "augment.size=[32,104]", "input_size=[32,104]"),
        ("augment=street", "augment.size=[32,64]"),  # crops of the pixels as they are
    ],
)
def test_training_at_the_size_of_prediction_is_silent(tiny, overrides, capsys):
    build(tiny(*overrides))

    assert "note" not in capsys.readouterr().err


def test_a_range_of_scales_without_that_of_prediction_is_told(tiny, capsys):
    build(tiny("augment=wide", "augment.size=[32,104]"))

    told = capsys.readouterr().err
    assert "images of synthetic trained at 0.45 to 0.75 of their size, predicted at 1.00" in told


def test_a_stored_run_is_not_asked_again(tiny):
    build(tiny("augment=none", "augment.size=[32,104]"), trained=True)


def test_the_command_line_names_the_size_that_fits(words, capsys):
    assert main(["train", *words("augment=none", "augment.size=[32,104]")]) == 1

    assert "expected input_size=[32, 104]" in capsys.readouterr().err
