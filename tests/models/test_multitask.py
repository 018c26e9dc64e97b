from __future__ import annotations

import pytest
import torch

from perception.errors import PerceptionError
from perception.models.encoders import MobileNetV2
from perception.models.heads import DeepLab
from perception.models.multitask import MultiTask


def model() -> MultiTask:
    encoder = MobileNetV2(width=0.35, output_stride=16)
    head = DeepLab(encoder.channels, encoder.strides, classes=("a", "b"), width=16, skips={"s4": 8})
    return MultiTask(encoder, [head])


def test_uint8_and_float_images_are_normalised_alike():
    network = model().eval()
    image = torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8)

    with torch.no_grad():
        a, b = network(image)["semantic"].logits, network(image.float())["semantic"].logits

    torch.testing.assert_close(a, b)
    assert a.shape == (1, 2, 40, 56)


def test_the_mean_image_reaches_the_encoder_as_zeros():
    network = model().eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    network(network.encoder.mean.expand(1, 3, 32, 32))

    assert not seen[0].any()


def test_a_head_that_is_not_asked_for_is_not_run():
    network = model()
    network.heads["semantic"].forward = lambda *_: pytest.fail("was run")

    assert network(torch.zeros(1, 3, 32, 32), tasks=()) == {}


def test_an_unknown_task_is_named():
    with pytest.raises(PerceptionError, match="task: found depth, expected one of semantic"):
        model()(torch.zeros(1, 3, 32, 32), tasks=["depth"])


def test_frozen_parts_stay_as_they_are_in_training():
    encoder = MobileNetV2(width=0.35, freeze="s4").train()
    image = torch.randn(2, 3, 64, 64)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}

    sum(f.sum() for f in encoder(image).values()).backward()

    frozen = tuple(f"features.{i}." for i in range(4))
    for name, p in encoder.named_parameters():
        assert p.requires_grad != name.startswith(frozen)
        assert (p.grad is None) == name.startswith(frozen)
    changed = {k for k, v in encoder.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not any(k.startswith(frozen) for k in changed)


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale():
    encoder = MobileNetV2(width=0.35, frozen_batch_norm=True).train()
    before = encoder.features[0][1].running_mean.clone()

    encoder(torch.randn(2, 3, 64, 64))

    torch.testing.assert_close(encoder.features[0][1].running_mean, before)
    assert encoder.features[0][1].weight.requires_grad


def test_an_unknown_stage_to_freeze_is_named():
    with pytest.raises(PerceptionError, match=r"encoder\.freeze: found s3, expected one of s2, s4"):
        MobileNetV2(width=0.35, freeze="s3")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_bf16_autocast_gives_float32_logits_and_finite_gradients(memory_format):
    network = model().to(memory_format=memory_format)
    image = torch.randint(0, 256, (2, 3, 48, 64)).to(memory_format=memory_format)

    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)["semantic"].logits
    logits.square().mean().backward()

    assert logits.dtype == torch.float32
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
