"""Heads say what they must see, and a network shows them that and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from perception.data.batch import Batch
from perception.errors import PerceptionError
from perception.models.encoders import MobileNetV2
from perception.models.heads import DeepLab
from perception.models.heads.base import Head
from perception.models.multitask import MultiTask
from perception.tasks import Kind
from perception.training.balance import Fixed
from perception.training.step import JointLoss, Micro


class Toy(Head):
    """Remembers what it was shown, and says the number of times it was run."""

    kind = Kind.VALUES

    def __init__(self, task: str, needs: tuple[str, ...] = (), reads: tuple[str, ...] = ()) -> None:
        super().__init__(task)
        self.needs, self.reads = needs, reads
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.seen: list[dict] = []

    def forward(self, features, size, **declared):
        self.seen.append(declared)
        read = sum(declared.get("outputs", {}).values())
        return self.factor * features["s4"].mean() + read

    def loss(self, output, batch, *, reduce_count=None):
        return {"toy": output}

    def decode(self, output, index=0):
        return output


def network(*heads: Head) -> MultiTask:
    torch.manual_seed(0)
    return MultiTask(MobileNetV2(width=0.35, output_stride=16), heads)


IMAGE = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)


def test_a_head_that_declares_nothing_is_shown_features_and_size_only():
    model = network(Toy("a"))

    model(IMAGE, step=3, targets=Batch(("x",), IMAGE))

    assert model.head("a").seen == [{}]


def test_a_head_that_declares_nothing_says_the_same_to_the_last_bit():
    encoder = MobileNetV2(width=0.35, output_stride=16)
    head = DeepLab(encoder.channels, encoder.strides, classes=("a", "b"), width=16, skips={"s4": 8})
    model = MultiTask(encoder, [head]).eval()

    with torch.no_grad():
        normal = (IMAGE.float() - encoder.mean) / encoder.std
        alone = head(encoder(normal), (32, 32)).logits
        joint = model(IMAGE, step=1, targets=Batch(("x",), IMAGE))["semantic"].logits

    assert torch.equal(alone, joint)


def test_the_image_is_what_the_encoder_sees():
    model = network(Toy("a", needs=("image",)))

    model(IMAGE)

    (seen,) = model.head("a").seen
    torch.testing.assert_close(seen["image"], (IMAGE - model.encoder.mean) / model.encoder.std)


def test_training_shows_the_step_and_the_targets():
    model = network(Toy("a", needs=("step", "targets")))
    batch = Batch(("x",), IMAGE)

    JointLoss(model, Fixed())(Micro([batch], [["a"]], lambda count: count, 7))

    (seen,) = model.head("a").seen
    assert seen["step"] == 7
    assert seen["targets"] is batch


def test_evaluation_shows_neither_step_nor_targets():
    model = network(Toy("a", needs=("step", "targets")))

    model(IMAGE)

    assert model.head("a").seen == [{"step": None, "targets": None}]


def test_a_head_reads_what_another_said_wherever_it_is_in_the_list():
    model = network(Toy("b", reads=("a",)), Toy("a"))

    outputs = model(IMAGE)

    assert list(outputs) == ["b", "a"]
    assert outputs["b"] == 2 * outputs["a"]
    assert model.head("b").seen[0]["outputs"]["a"] is outputs["a"]


def test_a_head_that_is_only_read_is_run_once_and_not_returned():
    model = network(Toy("a"), Toy("b", reads=("a",)), Toy("c", reads=("a", "b")))

    assert list(model(IMAGE, ["c"])) == ["c"]
    assert [len(model.head(task).seen) for task in "abc"] == [1, 1, 1]


def test_gradients_reach_the_head_that_is_read():
    model = network(Toy("a"), Toy("b", reads=("a",)))

    model(IMAGE, ["b"])["b"].backward()

    assert model.head("a").factor.grad is not None


def test_a_circle_of_heads_is_one_clear_error():
    with pytest.raises(PerceptionError, match=r"head\.\*\.reads: found a ← b ← a|b ← a ← b"):
        network(Toy("a", reads=("b",)), Toy("b", reads=("a",)))


def test_a_head_that_reads_itself_is_a_circle():
    with pytest.raises(PerceptionError, match="a ← a"):
        network(Toy("a", reads=("a",)))


def test_a_head_that_is_not_there_is_named_with_the_one_that_reads_it():
    with pytest.raises(PerceptionError, match=r"head\.road: found no head.*because head\.a reads"):
        network(Toy("a", reads=("road",)))


def test_an_unknown_input_is_named():
    with pytest.raises(PerceptionError, match=r"head\.a\.needs: found depth, expected any of imag"):
        network(Toy("a", needs=("depth",)))


def test_heads_that_read_others_are_captured_whole():
    model = network(Toy("b", needs=("image",), reads=("a",)), Toy("a")).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)

    with torch.no_grad():
        torch.testing.assert_close(compiled(IMAGE)["b"], model(IMAGE)["b"])
