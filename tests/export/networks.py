"""Tiny networks of every kind of head, with weights that make all outputs vary."""

from itertools import pairwise

import torch
from torch import nn

from perception.models.encoders.base import Encoder
from perception.models.heads import AnchorFree, DeepLab, FastBox, MultiNetFastBox, RoadFCN
from perception.models.layers import conv_bn
from perception.models.multitask import MultiTask

CLASSES = ("car", "person")
HEADS = {
    "fcn": lambda c, s: RoadFCN(c, s, width=8, skips=["s8", "s4"]),
    "fcn_scores_deconv": lambda c, s: RoadFCN(c, s, upsampling="deconv"),
    "fcn_sigmoid_shuffle": lambda c, s: RoadFCN(c, s, upsampling="pixelshuffle", masks="sigmoid"),
    "deeplab": lambda c, s: DeepLab(c, s, classes=CLASSES, width=8, rates=[6], skips={"s4": 4}),
    "deeplab_plain": lambda c, s: DeepLab(c, s, classes=CLASSES, width=8, rates=[]),
    "fastbox": lambda c, s: FastBox(c, s, classes=CLASSES, cell=16, hidden=8, fine_channels=4),
    "fastbox_32": lambda c, s: FastBox(c, s, classes=CLASSES, cell=32, hidden=8, refine=False),
    "fastbox_8": lambda c, s: FastBox(c, s, classes=CLASSES, cell=8, hidden=8, fine_channels=4),
    "multinet": lambda c, s: MultiNetFastBox(c, s, classes=CLASSES, fine="s8", hidden=8),
    "anchor_free": lambda c, s: AnchorFree(c, s, classes=CLASSES, width=8, depth=1),
}


class TinyEncoder(Encoder):
    """Five strided convolutions."""

    def __init__(self, padding="torch"):
        super().__init__()
        sizes = [3, 4, 8, 8, 12, 16]
        self.layers = nn.ModuleList(
            conv_bn(a, b, 3, stride=2, padding=padding) for a, b in pairwise(sizes)
        )
        self.channels = {f"s{2 ** (i + 1)}": c for i, c in enumerate(sizes[1:])}
        self.strides = {name: int(name[1:]) for name in self.channels}

    def forward(self, image):
        features = {}
        for name, layer in zip(self.channels, self.layers, strict=True):
            features[name] = image = layer(image)
        return features

    def stages(self):
        return {}


def network(*heads, encoder=None, seed=0):
    """A network with the named heads of `HEADS`, or those made by functions."""
    torch.manual_seed(seed)
    encoder = encoder or TinyEncoder()
    made = [HEADS[h](encoder.channels, encoder.strides) for h in heads]
    net = MultiTask(encoder, made).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.std() < 0.02:
            nn.init.normal_(module.weight, 0, 0.3)  # heads start nearly constant
    return net


def noise(height, width, images=1, seed=0):
    """(N, H, W, 3) uint8 with structure of every size."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(images, 3, 5, 7, generator=generator)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    fine = torch.rand(images, 3, height, width, generator=generator)
    return (255 * (0.7 * smooth + 0.3 * fine)).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
