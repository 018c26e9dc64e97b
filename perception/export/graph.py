"""What an exported file computes: uint8 RGB images in, named answers in their own pixels out.

Normalisation, padding to whole strides and its removal, probabilities, classes and box decoding
are inside; only suppression of overlapping boxes is added by each format in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.inference.answers import output_names
from perception.inference.model import MULTIPLE
from perception.models.heads.base import Head
from perception.models.heads.boxes import BoxHead
from perception.models.multitask import MultiTask

SMALLEST, LARGEST = 32, 8192  # side of an image in pixels
EXAMPLE = 75, 130  # not divisible by anything: what is rounded shows


class Deployed(nn.Module):
    """A network with its decoding, for (N, H, W, 3) uint8 RGB images.

    Args:
        network: evaluated as it is.
        tasks: the heads that answer; all by default.
    """

    def __init__(self, network: MultiTask, tasks: Sequence[str] | None = None) -> None:
        super().__init__()
        self.network = network.eval()
        self.tasks = tuple(tasks or network.tasks)
        kinds = ((task, network.head(task).kind) for task in self.tasks)
        self.names = tuple(name for task, kind in kinds for name in output_names(task, kind))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The answers in the order of `names`, without suppression of boxes."""
        height, width = image.shape[1], image.shape[2]
        pixels = image.permute(0, 3, 1, 2).float()
        below = (MULTIPLE - height % MULTIPLE) % MULTIPLE  # ONNX has another % for negative numbers
        right = (MULTIPLE - width % MULTIPLE) % MULTIPLE
        outputs = self.network(F.pad(pixels, (0, right, 0, below), mode="replicate"), self.tasks)
        answers: list[Tensor] = []
        for task in self.tasks:
            answers += self.network.head(task).answer(outputs[task], (height, width)).values()
        return tuple(answers)


def suppresses(head: Head, nms: bool) -> bool:
    """Whether a file itself suppresses the boxes of a head: only plain NMS is an ONNX operator."""
    return nms and isinstance(head, BoxHead) and head.rules.suppression == "nms"


def captured(deployed: Deployed, size: tuple[int, int] | None) -> torch.export.ExportedProgram:
    """The graph, for images of `size` (height, width), or of any size and number.

    Raises:
        PerceptionError: a head does what cannot be captured.
    """
    height, width = size or EXAMPLE
    example = torch.zeros(2 if size is None else 1, height, width, 3, dtype=torch.uint8)
    shapes = None
    if size is None:
        dims = {0: torch.export.Dim("images", min=1, max=1024)}
        for axis, name in ((1, "height"), (2, "width")):
            dims[axis] = torch.export.Dim(name, min=SMALLEST, max=LARGEST)
        shapes = {"image": dims}
    try:
        with torch.no_grad():
            return torch.export.export(
                deployed,
                (example,),
                dynamic_shapes=shapes,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except PerceptionError:
        raise
    except Exception as error:  # torch has many kinds for this
        found = " ".join(str(error).split())[:200]
        raise PerceptionError("export", found, "a network that torch.export can capture") from error
