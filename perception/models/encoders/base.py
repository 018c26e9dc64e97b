"""What every encoder is: a feature pyramid by name, with its input statistics and freezing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.models.weights import load_weights, published_file, read_weights

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)
OUTPUT_STRIDES = (8, 16, 32)
STAGES = ("s2", "s4", "s8", "s16", "s32")


class Encoder(nn.Module, ABC):
    """Turns a normalised image into named feature maps.

    Stages are named after their undilated stride, `s2` to `s32`; `strides[name]` is the real one
    (with output stride 16 the stage `s32` has stride 16). Sizes are rounded up: ceil(H / stride).

    Args:
        output_stride: 32, 16 or 8: later strides become dilations, so that the weights still fit.
        weights: a file, a trained run or its model.safetensors, `imagenet` (torchvision's published
            file), or None for random weights.
        freeze: the last stage that is not trained, e.g. `s4`; None trains all.
        frozen_batch_norm: batch norm uses its stored statistics in training too; its scale and
            shift are still trained.
    """

    url: str | None = None  # torchvision's published file
    unused_keys: tuple[str, ...] = ()  # prefixes in published files that an encoder does not need
    mean: Tensor  # (3, 1, 1), RGB, 0..255
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}
        self._frozen_batch_norm = False
        self._frozen: tuple[nn.Module, ...] = ()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    @abstractmethod
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W), normalised -> features by name, each (N, channels, H/stride, W/stride)."""

    @abstractmethod
    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """The modules that make each stage out of the one before, in order."""

    def train(self, mode: bool = True) -> Encoder:
        """Training mode, but for frozen parts."""
        super().train(mode)
        frozen = self.modules() if self._frozen_batch_norm else self._frozen_modules()
        for module in frozen:
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def load(self, source: str | Path) -> None:
        """Loads a file, or torchvision's published one for `imagenet`.

        Raises:
            PerceptionError: no such file, none published, no network, or keys that do not fit.
        """
        path = self._published() if str(source) == "imagenet" else _file_of(source)
        state = read_weights(path)
        if own := {k: v for k, v in state.items() if k.startswith("encoder.")}:  # of a run
            state = {key.removeprefix("encoder."): value for key, value in own.items()}
        load_weights(self, self.adapt(state), path, unused=self.unused_keys)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A published state dict with this encoder's keys and shapes; most need no change."""
        return state

    def _finish(
        self, weights: str | Path | None, freeze: str | None, frozen_batch_norm: bool
    ) -> None:
        """The end of every constructor: initialise, load, freeze."""
        self.apply(initialise)
        if weights is not None:
            self.load(weights)
        self._frozen_batch_norm = frozen_batch_norm
        if freeze is not None:
            self._freeze(freeze)
        self.train()

    def _freeze(self, last: str) -> None:
        stages = self.stages()
        if last not in stages:
            raise PerceptionError(
                "encoder.freeze",
                last,
                f"one of {', '.join(stages)}, or null",
                "Name the last stage that shall not be trained.",
            )
        for name, modules in stages.items():
            self._frozen += tuple(modules)
            for module in modules:
                module.requires_grad_(False)
            if name == last:
                return

    def _frozen_modules(self) -> list[nn.Module]:
        return [module for top in self._frozen for module in top.modules()]

    def _published(self) -> Path:
        if self.url is None:
            raise PerceptionError(
                "encoder.weights",
                "imagenet",
                "an encoder with a published file",
                f"torchvision publishes none for {self._describe()}; set encoder.weights to a "
                "file (.pth or .safetensors) of such a network.",
            )
        return published_file(self.url)

    def _describe(self) -> str:
        return type(self).__name__


class SequentialEncoder(Encoder):
    """An encoder whose layers follow one another in `features`, some of them named in `taps`."""

    features: nn.Sequential
    taps: dict[int, str]  # index in `features` -> name of its output: a stage, or another tap

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs named in `taps`."""
        features = {}
        for i, layer in enumerate(self.features):
            image = layer(image)
            if i in self.taps:
                features[self.taps[i]] = image
            if i == max(self.taps):
                break
        return features

    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """The layers of each stage."""
        stages: dict[str, Sequence[nn.Module]] = {}
        start = 0
        for end, name in self.taps.items():
            if name in STAGES:
                stages[name] = list(self.features)[start : end + 1]
                start = end + 1
        return stages


def check_output_stride(stride: int) -> None:
    """Raises a `PerceptionError` unless `stride` is 8, 16 or 32."""
    if stride not in OUTPUT_STRIDES:
        raise PerceptionError(
            "encoder.output_stride",
            str(stride),
            "8, 16 or 32",
            "Use 16 for dense outputs, 32 for speed.",
        )


class Dilation:
    """Turns strides into dilations once the output stride is reached.

    From then on a layer of stride 2 gets stride 1 and keeps the rate so far; only layers after it
    have twice the rate (systems of the DeepLab family; the weights of the undilated network fit).
    """

    def __init__(self, output_stride: int) -> None:
        check_output_stride(output_stride)
        self._limit = output_stride
        self.stride = 1  # so far
        self.rate = 1  # of the layers that come next

    def step(self, stride: int) -> tuple[int, int]:
        """(stride, dilation) of a layer that would have `stride` in the undilated network."""
        rate = self.rate
        if stride > 1 and self.stride * stride > self._limit:
            self.rate *= stride
            return 1, rate
        self.stride *= stride
        return stride, rate


def _file_of(source: str | Path) -> Path:
    """A file of weights; of a run's folder the best, else the last."""
    path = Path(source).expanduser()
    names = ("best.pt", "last.pt", "model.safetensors") if path.is_dir() else ()
    return next((path / name for name in names if (path / name).is_file()), path)


def initialise(module: nn.Module) -> None:
    """He for convolutions (fan-out), batch norm 1 and 0, linear layers normal with std 0.01."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        nn.init.zeros_(module.bias)
