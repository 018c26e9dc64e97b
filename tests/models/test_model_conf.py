"""Every encoder and head that `conf/` offers can be built and run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf"
ENCODERS = sorted((CONF / "encoder").glob("*.yaml"))
HEADS = sorted(p for p in (CONF / "head").glob("*/*.yaml") if p.stem != "none")


ENCODER_OF = {
    "multinet": ("vgg16", {}),
    "fcn8s_caffe": ("vgg16", {"fc7": True, "input_padding": 100}),
}


def config(path: Path, **values):
    return OmegaConf.merge(OmegaConf.load(path), values)


@pytest.mark.parametrize("path", ENCODERS, ids=lambda p: p.stem)
def test_every_encoder_config_builds_the_pyramid_it_promises(path):
    with torch.device("meta"):
        encoder = instantiate(config(path))
        features = encoder(torch.zeros(1, 3, 75, 130))

    assert {"s4", "s8", "s16", "s32"} <= set(features)
    for name, feature in features.items():
        stride = encoder.strides[name]
        size = (encoder.channels[name], -(-75 // stride), -(-130 // stride))
        assert tuple(feature.shape[1:]) == size, name


@pytest.mark.parametrize("path", HEADS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_head_config_builds_a_head_of_its_task(path):
    name, options = ENCODER_OF.get(path.stem, ("mobilenet_v2", {}))
    values = {"classes": ["a", "b"]} if "classes" in list(OmegaConf.load(path)) else {}
    with torch.device("meta"):
        encoder = instantiate(config(CONF / "encoder" / f"{name}.yaml", **options))
        head = instantiate(
            config(path, **values), channels=encoder.channels, strides=encoder.strides
        )

    assert head.task == path.parent.name
