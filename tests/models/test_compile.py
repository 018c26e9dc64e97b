"""Every network can be captured whole by `torch.compile`, and trains in bf16, channels-last."""

from __future__ import annotations

import pytest
import torch

from perception.data.batch import Batch, BoxTarget
from perception.models.encoders import VGG16, MobileNetV1, MobileNetV2, ResNet
from perception.models.heads import DeepLab, FastBox, MultiNetFastBox, RoadFCN
from perception.models.multitask import MultiTask

ENCODERS = {
    "mobilenet_v1": lambda: MobileNetV1(width=0.25, output_stride=16),
    "mobilenet_v2": lambda: MobileNetV2(width=0.35, output_stride=16, padding="same"),
    "resnet18": lambda: ResNet(18, output_stride=16),
}


def network(encoder) -> MultiTask:
    names = encoder.channels, encoder.strides
    heads = [
        RoadFCN(*names, width=8, upsampling="pixelshuffle"),
        FastBox(*names, classes=["car"], cell=16, hidden=16, refine_hidden=16, fine_channels=4),
        DeepLab(*names, classes=["a", "b"], width=16, rates=(2,), skips={"s4": 8}),
    ]
    return MultiTask(encoder, heads)


def batch(images: int) -> Batch:
    boxes = BoxTarget(
        xyxy=torch.tensor([[10.0, 10, 50, 40]]),
        label=torch.tensor([0]),
        ignore=torch.tensor([False]),
    )
    label = torch.randint(0, 2, (images, 48, 80), dtype=torch.uint8)
    targets = {"road": label, "semantic": label, "boxes": (boxes,) * images}
    return Batch(("a",) * images, torch.zeros(images), targets)


@pytest.mark.parametrize("name", ENCODERS)
def test_all_heads_are_captured_without_a_break(name):
    torch.manual_seed(0)
    plain = network(ENCODERS[name]()).eval()
    image = torch.randint(0, 256, (2, 3, 48, 80), dtype=torch.uint8)
    compiled = torch.compile(plain, backend="eager", fullgraph=True)

    with torch.no_grad():
        ours, theirs = plain(image), compiled(image)

    for task in plain.tasks:
        for a, b in zip(ours[task], theirs[task], strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ENCODERS)
def test_bf16_channels_last_gives_every_parameter_a_finite_gradient(name):
    torch.manual_seed(0)
    model = network(ENCODERS[name]()).to(memory_format=torch.channels_last).train()
    image = torch.randint(0, 256, (2, 3, 48, 80), dtype=torch.uint8)

    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(image.contiguous(memory_format=torch.channels_last))
    losses = [model.heads[task].loss(outputs[task], batch(2)) for task in model.tasks]
    sum(sum(terms.values()) for terms in losses).backward()

    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_multinets_own_recipe_trains_on_vgg():
    torch.manual_seed(0)
    encoder = VGG16()
    names = encoder.channels, encoder.strides
    heads = [
        RoadFCN(*names, upsampling="deconv", skip_scale=0.01, class_weights=[1, 2]),
        MultiNetFastBox(*names, classes=["car"]),
    ]
    model = MultiTask(encoder, heads).train()

    outputs = model(torch.randint(0, 256, (1, 3, 48, 80), dtype=torch.uint8))
    losses = [model.heads[task].loss(outputs[task], batch(1)) for task in model.tasks]
    sum(sum(terms.values()) for terms in losses).backward()

    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
