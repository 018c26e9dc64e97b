import numpy as np
import pytest
import torch
from torch import nn

from perception.inference.model import Model
from perception.labels import LabelClass, LabelScheme
from perception.models.heads.dense import DenseOutput
from perception.structures import Boxes
from perception.tasks import STANDARD

SCHEME = LabelScheme(
    "two", (LabelClass("road", 7, 0, (1, 2, 3)), LabelClass("car", 26, 1, (4, 5, 6)))
)


class Echo(nn.Module):
    """A network that returns the red channel of its input as every task's result."""

    tasks = ("road", "boxes", "semantic")

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = None

    def forward(self, image, tasks=None):
        self.seen = tuple(image.shape)
        red = image[:, :1].float() / 255
        outputs = {"road": DenseOutput(red), "semantic": DenseOutput(red), "boxes": red}
        return {task: outputs[task] for task in tasks or self.tasks}

    def head(self, task):
        return _EchoHead(task)


class _EchoHead:
    def __init__(self, task):
        self.task = task
        self.kind = STANDARD[task].kind

    def decode(self, output):
        red = (output if self.task == "boxes" else output.logits)[0, 0].numpy()
        if self.task == "road":
            return red.astype(np.float32)
        if self.task == "semantic":
            return (red > 0.5).astype(np.uint8), red.astype(np.float32)
        rows, columns = np.nonzero(red > 0.5)
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Boxes.of([corners], ["car"], score=[0.9])


def square(height, width, box):
    image = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image


def test_odd_sizes_are_padded_to_whole_cells_and_cut_back():
    network = Echo()
    image = square(37, 61, (50, 30, 61, 37))

    prediction = Model(network, scheme=SCHEME).predict(image, key="a")

    assert network.seen == (1, 3, 64, 64)
    np.testing.assert_array_equal(prediction.road, image[..., 0] / np.float32(255))
    np.testing.assert_array_equal(prediction.semantic.ids, np.where(image[..., 0], 26, 7))
    assert prediction.boxes.xyxy.tolist() == [[50, 30, 61, 37]]


def test_results_come_back_in_original_pixels_when_the_input_is_resized():
    image = square(64, 128, (32, 16, 96, 48))

    prediction = Model(Echo(), scheme=SCHEME, size=(32, 64)).predict(image)

    assert prediction.road.shape == prediction.semantic.ids.shape == (64, 128)
    np.testing.assert_allclose(prediction.boxes.xyxy, [[32, 16, 96, 48]])


def test_only_the_asked_tasks_are_run():
    prediction = Model(Echo(), scheme=SCHEME).predict(square(32, 32, (0, 0, 8, 8)), tasks=["road"])

    assert prediction.boxes is None
    assert prediction.semantic is None


def test_a_wrong_array_is_refused():
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB, got float64 \(4, 4\)"):
        Model(Echo()).predict(np.zeros((4, 4)))
