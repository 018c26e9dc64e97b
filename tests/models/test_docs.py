"""The examples of the how-to pages run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from perception.data.batch import Batch
from perception.models.encoders import Encoder, MobileNetV2
from perception.models.heads import Head
from perception.models.multitask import MultiTask

DOCS = Path(__file__).parents[2] / "docs"


def example(page: str, name: str):
    """The class `name` of the page's Python block."""
    block = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    scope: dict = {"__name__": "example"}
    exec(block.group(1), scope)
    return scope[name]


def test_the_encoder_of_the_page_has_the_strides_it_promises():
    encoder: Encoder = example("add_an_encoder.md", "Tiny")(width=4, output_stride=16, freeze="s4")

    features = encoder(torch.zeros(2, 3, 75, 130))

    for name, stride in {"s2": 2, "s4": 4, "s8": 8, "s16": 16, "s32": 16}.items():
        assert encoder.strides[name] == stride
        size = (encoder.channels[name], -(-75 // stride), -(-130 // stride))
        assert tuple(features[name].shape[1:]) == size


def test_the_head_of_the_page_learns_a_depth():
    torch.manual_seed(0)
    encoder = MobileNetV2(width=0.35, output_stride=16)
    head: Head = example("add_a_head.md", "Depth")(encoder.channels, encoder.strides, width=8)
    network = MultiTask(encoder, [head])
    depth = torch.full((2, 64, 96), 20.0)
    depth[:, :8] = torch.nan
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    image = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    batch = Batch(("a", "b"), image, {"depth": depth})

    losses = []
    for _ in range(30):
        loss = head.loss(network(image)["depth"], batch)["log_l1"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < 0.3 * losses[0]
    assert head.decode(network(image)["depth"]).shape == (64, 96)
