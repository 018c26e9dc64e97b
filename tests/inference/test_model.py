import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from perception.files import write_image
from perception.inference.model import Model
from perception.inference.predicted import Predicted
from perception.labels import LabelClass, LabelScheme
from perception.models.heads.dense import DenseOutput
from perception.structures import Boxes, Image
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

    def decode(self, output, index=0):
        red = (output if self.task == "boxes" else output.logits)[index, 0].numpy()
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


def test_every_kind_of_image_gives_the_same_prediction(tmp_path):
    pixels = square(40, 64, (8, 8, 24, 24))
    path = tmp_path / "street.png"
    write_image(path, pixels)
    model = Model(Echo(), scheme=SCHEME)
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    expected = model.predict(pixels)

    for image in (path, str(path), PIL.Image.fromarray(pixels), tensor, Image.of(path)):
        prediction = model(image)
        np.testing.assert_array_equal(prediction.road, expected.road)
        assert prediction.boxes.xyxy.tolist() == [[8, 8, 24, 24]]
    assert model(path).key == "street"


def test_a_list_and_a_folder_give_lists_and_neighbours_of_one_size_share_a_pass(tmp_path):
    small, large = square(32, 32, (0, 0, 8, 8)), square(32, 64, (40, 8, 50, 20))
    other = square(32, 32, (4, 4, 9, 9))
    for name, pixels in (("a", small), ("b", other), ("c", large)):
        write_image(tmp_path / f"{name}.png", pixels)
    network = Echo()
    model = Model(network, scheme=SCHEME)
    passes = []
    network.register_forward_hook(lambda *_: passes.append(network.seen))

    told = model.predict([small, other, large])
    found = model.predict(tmp_path)

    assert passes == 2 * [(2, 3, 32, 32), (1, 3, 32, 64)]
    assert [p.boxes.xyxy.tolist() for p in told] == [
        [[0, 0, 8, 8]],
        [[4, 4, 9, 9]],
        [[40, 8, 50, 20]],
    ]
    assert [p.key for p in found] == ["a", "b", "c"]
    for one, two in zip(told, found, strict=True):
        np.testing.assert_array_equal(one.road, two.road)
        np.testing.assert_array_equal(one.semantic.ids, two.semantic.ids)


def test_a_stream_answers_before_the_next_image_comes():
    taken = []

    def camera():
        for number in range(3):
            taken.append(number)
            yield square(32, 32, (number, 0, number + 4, 4))

    stream = Model(Echo(), scheme=SCHEME).stream(camera())

    assert next(stream).boxes.xyxy.tolist() == [[0, 0, 4, 4]]
    assert taken == [0]
    assert len(list(stream)) == 2


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (3, "got int"),
        (None, "got NoneType"),
        ([np.zeros((4, 4))], r"got float64 \(4, 4\)"),
        (torch.zeros(3, 4, 4), r"tensor, got torch.float32 \(3, 4, 4\)"),
        (PIL.Image.new("F", (4, 4)), "got mode F"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ],
)
def test_a_wrong_argument_is_answered_with_one_sentence(image, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        Model(Echo()).predict(image)


def test_a_prediction_draws_saves_and_becomes_labelme(tmp_path):
    pixels = square(64, 96, (8, 8, 40, 40))
    prediction = Model(Echo(), scheme=SCHEME).predict(pixels, key="a")

    prediction.save(tmp_path)
    shapes = prediction.to_labelme()["shapes"]

    assert prediction.draw().shape == pixels.shape
    for name in ("overlays/a.png", "road/a.png", "boxes/a.txt", "semantic/a.png", "json/a.json"):
        assert (tmp_path / name).is_file()
    assert [s["points"] for s in shapes if s["shape_type"] == "rectangle"] == [[[8, 8], [40, 40]]]
    np.testing.assert_array_equal(prediction.probabilities("road"), prediction.road)
    with pytest.raises(ValueError, match="files, overlay, got pdf"):
        prediction.save(tmp_path, formats=["pdf"])
    with pytest.raises(KeyError, match="no task depth"):
        prediction.probabilities("depth")


def test_boxes_become_detections_whose_class_numbers_do_not_depend_on_the_image():
    supervision = pytest.importorskip("supervision")
    boxes = Boxes.of([[1, 2, 5, 9]], ["pedestrian"], score=[0.75])
    image = Image((20, 30), pixels=np.zeros((20, 30, 3), np.uint8))
    prediction = Predicted(
        "a",
        (20, 30),
        results={"boxes": boxes},
        image=image,
        classes={"boxes": ("car", "pedestrian", "cyclist")},
    )

    found = prediction.to_supervision()

    assert isinstance(found, supervision.Detections)
    assert found.xyxy.tolist() == [[1, 2, 5, 9]]
    assert (found.class_id.tolist(), found.confidence.tolist()) == ([1], [0.75])
    assert found.data["class_name"].tolist() == ["pedestrian"]
