from __future__ import annotations

import pytest
import torch

from perception.data.batch import Batch, BoxTarget
from perception.errors import PerceptionError
from perception.models.heads import FastBox, MultiNetFastBox
from perception.models.heads.grid import CellsOutput
from tests.models.counting import parameters

CHANNELS = {"s4": 6, "s8": 8, "s16": 12, "s32": 16, "conv4_3": 8}
STRIDES = {"s4": 4, "s8": 8, "s16": 16, "s32": 32, "conv4_3": 8}
HEADS = [FastBox, MultiNetFastBox]


def features(height: int, width: int, images: int = 2) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(images, CHANNELS[name], -(-height // s), -(-width // s))
        for name, s in STRIDES.items()
    }


def image_boxes(*boxes: tuple[float, ...], label: int = 0, ignore: bool = False):
    n = len(boxes)
    return BoxTarget(
        xyxy=torch.tensor(boxes).view(-1, 4),
        label=torch.full((n,), label),
        ignore=torch.full((n,), ignore),
    )


def batch(*images) -> Batch:
    return Batch(("a",) * len(images), torch.zeros(len(images)), {"boxes": images})


def answers(xyxy: list, logits: list, size=(64, 96)) -> CellsOutput:
    boxes, scores = torch.tensor([xyxy]), torch.tensor([logits])
    centers = torch.zeros(boxes.shape[1], 2)
    return CellsOutput(boxes, scores, boxes, scores, centers, torch.tensor(size).float())


@pytest.mark.parametrize(("classes", "count"), [(1, 618_680), (2, 619_308)])
def test_the_original_decoder_has_the_published_number_of_parameters(classes, count):
    with torch.device("meta"):
        head = MultiNetFastBox(
            {"s32": 512, "conv4_3": 512},
            {"s32": 32, "conv4_3": 8},
            classes=["vehicle", "pedestrian"][:classes],
        )

    assert parameters(head) == count


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("size", [(64, 96), (75, 130)])
def test_there_is_one_finite_box_per_cell(kind, size):
    head = kind(CHANNELS, STRIDES, classes=["car", "person"])

    output = head(features(*size), size)

    cells = -(-size[0] // 32) * -(-size[1] // 32)
    assert output.xyxy.shape == output.coarse.shape == (2, cells, 4)
    assert head.scores(output.logits[0]).shape == (cells, 2)
    assert all(column.isfinite().all() for column in output)


@pytest.mark.parametrize("cell", [8, 16, 32])
def test_finer_grids_are_a_setting(cell):
    head = FastBox(CHANNELS, STRIDES, classes=["car"], cell=cell)

    assert head(features(64, 96), (64, 96)).xyxy.shape[1] == (64 // cell) * (96 // cell)


@pytest.mark.parametrize("kind", HEADS)
def test_an_image_without_boxes_still_teaches_background(kind):
    head = kind(CHANNELS, STRIDES, classes=["car"])

    losses = head.loss(head(features(64, 96), (64, 96)), batch(image_boxes(), image_boxes()))

    assert losses["box"] == losses["refined_box"] == 0
    assert losses["confidence"] > 0
    sum(losses.values()).backward()


@pytest.mark.parametrize("kind", HEADS)
def test_cells_in_ignore_regions_get_no_gradient(kind):
    head = kind(CHANNELS, STRIDES, classes=["car"])
    output = head(features(64, 96), (64, 96))
    leaves = CellsOutput(*(column.detach().requires_grad_() for column in output))

    region = image_boxes((0, 0, 40, 30), ignore=True)
    sum(head.loss(leaves, batch(region, image_boxes())).values()).backward()

    for logits in (leaves.coarse_logits, leaves.logits):
        touched = logits.grad.abs().sum(-1) > 0
        assert touched.tolist() == [[False, False, True, True, True, True], [True] * 6]


@pytest.mark.parametrize("kind", HEADS)
def test_two_processes_equal_one(kind):
    head = kind(CHANNELS, STRIDES, classes=["car"]).eval()
    given = features(64, 96)
    images = image_boxes((5, 5, 40, 40), (50, 8, 90, 30)), image_boxes((30, 30, 50, 60))
    both = head(given, (64, 96))
    single = [
        both._replace(**{k: getattr(both, k)[i : i + 1] for k in both._fields[:4]}) for i in (0, 1)
    ]
    counts: list[torch.Tensor] = []
    for output, image in zip(single, images, strict=True):
        head.loss(output, batch(image), reduce_count=lambda c: counts.append(c) or c)
    terms = len(counts) // 2

    parts = []
    for output, image in zip(single, images, strict=True):
        shared = iter([(counts[i] + counts[terms + i]) / 2 for i in range(terms)])
        parts.append(head.loss(output, batch(image), reduce_count=lambda _, s=shared: next(s)))

    whole = head.loss(both, batch(*images))
    for name, loss in whole.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, loss)


def test_the_perfect_answer_costs_nothing_in_boxes():
    head = FastBox(CHANNELS, STRIDES, classes=["car"])
    output = head(features(64, 96, images=1), (64, 96))
    truth = image_boxes((10, 10, 50, 40))
    target = head.targets(batch(truth), output.centers)

    exact = output._replace(coarse=target.xyxy, xyxy=target.xyxy)
    losses = head.loss(exact, batch(truth))

    assert losses["box"].item() == pytest.approx(0, abs=1e-5)
    assert losses["refined_box"].item() == pytest.approx(0, abs=1e-5)


def test_the_refined_score_is_taught_the_overlap():
    """The gradient vanishes where the score equals the IoU of the refined box."""
    head = FastBox(CHANNELS, STRIDES, classes=["car"])
    output = head(features(64, 96, images=1), (64, 96))
    truth = image_boxes((0, 0, 30, 30))
    half = torch.tensor([0.0, 0, 30, 15]).expand_as(output.xyxy)
    logits = torch.zeros_like(output.logits).requires_grad_()  # score 0.5 = IoU

    losses = head.loss(output._replace(xyxy=half, logits=logits), batch(truth))
    losses["refined_confidence"].backward()

    positive = head.targets(batch(truth), output.centers).positive
    assert logits.grad[positive].abs().max() < 1e-6
    assert logits.grad[~positive].abs().min() > 1e-3


def test_rezoom_moves_boxes_by_what_lies_there():
    """With the fine map changed inside one coarse box alone, only boxes reaching it move."""
    torch.manual_seed(0)
    head = FastBox(CHANNELS, STRIDES, classes=["car"], cell=16).eval()
    torch.nn.init.normal_(head.again[-1].weight)
    given = features(64, 256, images=1)
    changed = given | {"s4": given["s4"].clone()}
    changed["s4"][..., :4] += 5.0  # x < 16

    with torch.no_grad():
        a, b = head(given, (64, 256)), head(changed, (64, 256))

    torch.testing.assert_close(a.coarse, b.coarse)
    moved = (a.xyxy != b.xyxy).any(-1)[0]
    reaches = a.coarse[0, :, 0] < 20
    assert moved.any()
    assert not (moved & ~reaches).any()


def test_decode_suppresses_within_a_class_only_and_sorts_by_score():
    head = FastBox(CHANNELS, STRIDES, classes=["car", "person"], nms_iou=0.5)
    box, near, far = [10.0, 10, 30, 30], [11.0, 10, 31, 30], [-8.0, 40, 20, 90]
    output = answers([box, near, far], [[1.0, -9], [2.0, 3.0], [0.5, -9.0]])

    boxes = head.decode(output)

    assert boxes.names.tolist() == ["person", "car", "car"]
    assert boxes.xyxy.tolist() == [near, near, [0, 40, 20, 64]]
    assert boxes.score.tolist() == pytest.approx([0.952574, 0.880797, 0.622459], abs=1e-5)


def test_decode_leaves_out_low_scores_and_empty_boxes():
    head = FastBox(CHANNELS, STRIDES, classes=["car"], min_score=0.5)
    output = answers([[0.0, 0, 9, 9], [0, 0, 9, 9], [100, 0, 120, 9]], [[-1.0], [-2.0], [5.0]])

    assert len(head.decode(output)) == 0


def test_the_original_coordinates_are_pixels_of_the_cell():
    """With all weights zero but one, the box is 50 * hidden, around the cell's centre."""
    head = MultiNetFastBox(CHANNELS, STRIDES, classes=["car"], dropout=0.0)
    for weight in head.parameters():
        torch.nn.init.zeros_(weight)
    head.hidden.weight.data[0, 0] = 1.0
    head.box.weight.data[:, 0] = torch.tensor([1.0, 0.0, 4.0, 2.0])
    given = features(64, 96, images=1) | {"s32": torch.ones(1, 16, 2, 3)}

    output = head(given, (64, 96))

    # hidden = 0.1: centre 5 px right of the cell's, 20 px wide, 10 px high
    assert output.xyxy[0, 0].tolist() == pytest.approx([11, 11, 31, 21])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fine": "s2"}, r"head\.boxes\.fine: found s2, expected one of s4, "),
        ({"features": ["s64"]}, r"head\.boxes\.features: found s64, expected one of s4, "),
        ({"cell": 24}, r"head\.boxes\.cell: found 24, expected a multiple or a divisor of 16"),
        ({"losses": {"boxes": 2.0}}, r"head\.boxes\.losses: found boxes, expected any of confid"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(PerceptionError, match=message):
        FastBox(CHANNELS, STRIDES, classes=["car"], **options)
