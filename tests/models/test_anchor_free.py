"""The anchor-free head: where points lie, who answers for which box, what is learnt."""

import pytest
import torch

from perception.data.batch import Batch, BoxTarget
from perception.errors import PerceptionError
from perception.models.heads import AnchorFree
from perception.models.heads.aligned import assign_aligned

CHANNELS = {"s8": 8, "s16": 12, "s32": 16}
STRIDES = {"s8": 8, "s16": 16, "s32": 32}


def head(**more):
    torch.manual_seed(0)
    return AnchorFree(CHANNELS, STRIDES, classes=["car", "pedestrian"], width=16, **more)


def features(size=(64, 96), images=2):
    torch.manual_seed(1)
    return {
        n: torch.randn(images, c, -(-size[0] // STRIDES[n]), -(-size[1] // STRIDES[n]))
        for n, c in CHANNELS.items()
    }


def batch(*images, size=(64, 96)):
    """`images`: lists of (x1, y1, x2, y2, label, ignore)."""
    targets = []
    for rows in images:
        table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
        targets.append(BoxTarget(table[:, :4], table[:, 4].long(), table[:, 5].bool()))
    image = torch.zeros(len(images), 3, *size, dtype=torch.uint8)
    return Batch(tuple("ab"[: len(images)]), image, targets={"boxes": tuple(targets)})


def test_points_are_the_middles_of_the_cells_of_every_level():
    out = head()(features(), (64, 96))

    assert out.points.shape == (8 * 12 + 4 * 6 + 2 * 3, 2)
    assert out.points[0].tolist() == [4, 4] and out.points[1].tolist() == [12, 4]
    assert out.points[96].tolist() == [8, 8] and out.points[-1].tolist() == [80, 48]
    assert out.strides[[0, 96, -1]].tolist() == [8, 16, 32]
    assert out.xyxy.shape == (2, 126, 4) and out.logits.shape == (2, 126, 2)


def test_before_training_every_point_says_a_box_of_four_strides_with_the_prior_score():
    out = head().eval()(features(), (64, 96))

    side = out.xyxy[..., 2:] - out.xyxy[..., :2]
    torch.testing.assert_close(
        side / out.strides[:, None], torch.full_like(side, 4.0), rtol=0.3, atol=0
    )
    torch.testing.assert_close(
        out.logits.sigmoid(), torch.full_like(out.logits, 0.01), rtol=0.5, atol=0
    )


def points_of(*places):
    return torch.tensor(places, dtype=torch.float32), torch.full((len(places),), 8.0)


def test_the_points_that_say_a_box_best_answer_for_it():
    points, strides = points_of((4, 4), (12, 4), (20, 4), (60, 60))
    said = torch.tensor([[0.0, 0, 24, 8], [0, 0, 24, 8], [0, 0, 4, 8], [0, 0, 24, 8]])
    scores = torch.tensor([[0.9], [0.1], [0.9], [0.9]])
    boxes = torch.tensor([[0.0, 0, 24, 8]])
    label, ignored = torch.tensor([0]), torch.tensor([False])

    found = assign_aligned(said, scores, points, strides, boxes, label, ignored, candidates=2)

    assert found.positive.tolist() == [True, True, False, False]  # the last lies elsewhere
    assert found.quality[0] == 1.0  # the best: its overlap
    torch.testing.assert_close(found.quality[1], torch.tensor((0.1 / 0.9) ** 0.5))
    assert found.quality[2:].tolist() == [0, 0]


def test_a_box_smaller_than_a_cell_has_a_point_near_its_middle():
    points, strides = points_of((4, 4), (12, 4), (36, 4))
    said = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [32, 0, 40, 8]])
    boxes = torch.tensor([[7.0, 3, 9, 5]])

    found = assign_aligned(
        said,
        torch.full((3, 1), 0.5),
        points,
        strides,
        boxes,
        torch.tensor([0]),
        torch.tensor([False]),
    )

    assert found.positive.tolist() == [True, True, False]


def test_a_point_of_two_boxes_is_that_of_the_larger_overlap():
    points, strides = points_of((10, 10))
    boxes = torch.tensor([[0.0, 0, 40, 40], [0, 0, 20, 20]])

    found = assign_aligned(
        torch.tensor([[0.0, 0, 18, 20]]),
        torch.tensor([[0.9, 0.1]]),
        points,
        strides,
        boxes,
        torch.tensor([0, 1]),
        torch.tensor([False, False]),
    )

    assert found.box.tolist() == [1]


def test_ignored_regions_count_neither_way():
    model = head()
    out = model(features(images=1), (64, 96))
    region = (16, 16, 80, 56, 0, 1)
    free = model.loss(out, batch([region]))
    none = model.loss(out, batch([]))

    inside = (out.points > torch.tensor([16.0, 16])).all(1) & (
        out.points < torch.tensor([80.0, 56])
    ).all(1)
    (gradient,) = torch.autograd.grad(free["class"], out.logits, retain_graph=True)
    assert (gradient[0, inside] == 0).all() and (gradient[0, ~inside] != 0).all()
    assert free["class"] < none["class"]
    assert free["box"] == 0 == none["box"]


def test_a_few_steps_find_a_box_of_each_class_and_size():
    model = head(min_score=0.3)
    inputs = features()
    target = batch([(8, 8, 28, 24, 0, 0), (60, 10, 70, 40, 1, 0)], [(2, 2, 90, 60, 0, 0)])
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        sum(model.loss(model(inputs, (64, 96)), target).values()).backward()
        optimizer.step()

    out = model(inputs, (64, 96))
    first, second = model.decode(out, 0), model.decode(out, 1)

    assert sorted(first.names.tolist()) == ["car", "pedestrian"] and second.names.tolist() == [
        "car"
    ]
    car = first.xyxy[first.names == "car"][0]
    assert abs(car - [8, 8, 28, 24]).max() < 4
    assert abs(second.xyxy[0] - [2, 2, 90, 60]).max() < 8


def test_an_unknown_term_or_feature_is_named():
    with pytest.raises(PerceptionError, match="giou"):
        head(losses={"giou": 1.0})
    with pytest.raises(PerceptionError, match="s64"):
        head(features=["s8", "s64"])
