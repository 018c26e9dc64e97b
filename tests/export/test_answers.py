import numpy as np
import pytest
import torch

from perception.inference.answers import output_names
from perception.inference.model import Model
from perception.models.heads.boxes import BoxRules
from perception.models.heads.cells import cell_centers, size_tensor, with_image
from perception.models.heads.grid import CellsOutput
from perception.models.layers import SameConv2d
from perception.structures import Image
from perception.tasks import Kind
from tests.export.networks import CLASSES, HEADS, TinyEncoder, network, noise


def test_centers_are_in_row_major_order_and_cover_odd_sizes():
    centers = cell_centers((40, 33), 32, torch.device("cpu"))

    assert centers.tolist() == [[16, 16], [48, 16], [16, 48], [48, 48]]


def test_every_row_gets_the_number_of_its_image():
    rows = torch.tensor([[[5.0], [6.0]], [[7.0], [8.0]]])

    assert with_image(rows).tolist() == [[0, 5], [0, 6], [1, 7], [1, 8]]


def test_a_size_becomes_a_tensor_of_the_same_kind():
    assert size_tensor((3, 4), torch.zeros(1, dtype=torch.float64)).tolist() == [3, 4]


@pytest.mark.parametrize(("length", "outputs"), [(75, 38), (130, 65), (3, 2), (1, 1)])
def test_same_padding_rounds_sizes_up(length, outputs):
    conv = SameConv2d(1, 1, 3, 2, 0, 1, 1, False)

    assert conv(torch.zeros(1, 1, length, 8)).shape[2] == outputs


def test_boxes_are_cut_at_the_image_and_empty_ones_have_no_score():
    head = HEADS["anchor_free"](*_parts())
    xyxy = torch.tensor([[[-5.0, 2, 30, 40], [50, 1, 60, 9], [4, 4, 4, 8]]])
    logits = torch.zeros(1, 3, 2)
    output = CellsOutput(xyxy, logits, xyxy, logits, torch.zeros(3, 2), torch.tensor([64, 64]))

    said = head.answer(output, (20, 40))

    assert said["xyxy"].tolist() == [[[0, 2, 30, 20], [40, 1, 40, 9], [4, 4, 4, 8]]]
    assert said["scores"].tolist() == [[[0.5, 0.5], [0, 0], [0, 0]]]


def test_the_best_of_overlapping_boxes_of_a_class_is_a_result():
    xyxy = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    scores = torch.tensor([[0.5, 0.0], [0.6, 0.2], [0.05, 0.3]])

    boxes = BoxRules(CLASSES, 0.1, 0.5, 2).apply(xyxy, scores)

    assert boxes.names.tolist() == ["car", "person"]
    assert boxes.score.tolist() == pytest.approx([0.6, 0.3])
    assert boxes.xyxy.tolist() == [[0, 0, 10, 9], [20, 20, 30, 30]]


def test_suppression_sees_boxes_as_the_image_cuts_them():
    """Two boxes that reach into the padding are one object inside the image."""
    net = network("anchor_free")
    xyxy = torch.tensor([[[0.0, 0, 20, 40], [0, 0, 20, 64]]])
    logits = torch.tensor([[[2.0, -9], [1.0, -9]]])
    output = CellsOutput(xyxy, logits, xyxy, logits, torch.zeros(2, 2), torch.tensor([64.0, 32]))

    found = Model(net)._decode({"boxes": output}, 0, "k", Image((40, 20)), (40, 20)).boxes

    assert len(found) == 1


@pytest.mark.parametrize("head", HEADS)
def test_every_head_answers_for_the_image_without_its_padding(head):
    net = network(head)
    task = net.tasks[0]
    image = noise(64, 64).permute(0, 3, 1, 2)
    with torch.inference_mode():
        said = net.head(task).answer(net(image)[task], (40, 50))

    assert len(said) == len(output_names(task, net.head(task).kind))
    for answer in said.values():
        assert answer.shape[1:] == (40, 50) if net.head(task).kind != Kind.BOXES else True
    if "xyxy" in said:
        assert said["xyxy"][..., 0::2].max() <= 50 and said["xyxy"][..., 1::2].max() <= 40


def test_outputs_are_named_after_their_task():
    assert output_names("road", Kind.MASK) == ("road",)
    assert output_names("parts", Kind.CLASSES) == ("parts", "parts_score")
    assert output_names("boxes", Kind.BOXES) == ("boxes", "scores")
    assert output_names("signs", Kind.BOXES, suppressed=True) == (
        "signs",
        "signs_scores",
        "signs_labels",
        "signs_image_index",
    )


def test_decoded_values_are_those_of_the_answer():
    net = network("deeplab", "fcn")
    with torch.inference_mode():
        outputs = net(noise(40, 56, 2).permute(0, 3, 1, 2))
        semantic = net.head("semantic").answer(outputs["semantic"], (40, 56))
        road = net.head("road").answer(outputs["road"], (40, 56))

    decoded = net.head("semantic").decode(outputs["semantic"], 1)
    np.testing.assert_array_equal(decoded.ids, semantic["ids"][1])
    np.testing.assert_array_equal(decoded.score, semantic["score"][1])
    np.testing.assert_array_equal(
        net.head("road").decode(outputs["road"], 1), road["probability"][1]
    )


def _parts():
    encoder = TinyEncoder()
    return encoder.channels, encoder.strides
