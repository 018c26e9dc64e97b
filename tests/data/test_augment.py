"""The label of a pixel or box never drifts from its image."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.data import geometry
from perception.data.augment import Augment
from perception.data.batch import Sample, SampleBoxes
from perception.data.geometry import View, apply_view, draw_view
from perception.errors import PerceptionError

SIZE = (60, 90)


def blocks(seed=0, size=SIZE):
    """Blocks of 10x10 whose colour says their class, and a box around each of class 2."""
    ids = np.random.default_rng(seed).integers(0, 3, (size[0] // 10, size[1] // 10), np.uint8)
    label = ids.repeat(10, 0).repeat(10, 1)
    image = np.repeat((label * 80 + 40)[..., None], 3, axis=2)
    rows, columns = np.nonzero(ids == 2)
    xyxy = 10.0 * np.c_[columns, rows, columns + 1, rows + 1]
    boxes = SampleBoxes(xyxy, np.full(len(xyxy), 2), np.zeros(len(xyxy), bool))
    return Sample("blocks", image, road=(label == 1).astype(np.uint8), semantic=label, boxes=boxes)


def drifted(sample):
    """Share of the labelled pixels, away from edges of the label, whose colour is another class."""
    label = sample.semantic
    square = np.ones((5, 5), np.uint8)
    flat = (
        sum(cv2.erode((label == c).astype(np.uint8), square, borderValue=0) for c in range(3)) > 0
    )
    seen = flat & (label != 255)
    wrong = np.abs(sample.image[..., 0].astype(int) - (label.astype(int) * 80 + 40)) > 30
    return (wrong & seen).sum() / max(seen.sum(), 1)


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    low=st.floats(0.5, 1.0),
    high=st.floats(1.0, 2.5),
    rotate=st.sampled_from([0.0, 20.0]),
    perspective=st.sampled_from([0.0, 0.08]),
    balance=st.sampled_from([0.0, 1.0]),
    scale_of=st.sampled_from(["pixels", "contain", "cover"]),
)
def test_every_pixel_keeps_its_label(seed, low, high, rotate, perspective, balance, scale_of):
    view = View((low, high), scale_of, 0.5, rotate, perspective, balance)

    made = Augment((48, 64), view=view)(blocks(seed), seed)

    assert made.image.shape == (48, 64, 3)
    assert drifted(made) == 0
    labelled = made.semantic != 255
    np.testing.assert_array_equal(made.road != 255, labelled)
    np.testing.assert_array_equal(made.road[labelled], made.semantic[labelled] == 1)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.6, 2.5), flip=st.sampled_from([0.0, 1.0]))
def test_every_box_stays_on_its_object(seed, scale, flip):
    augment = Augment((48, 64), view=View((scale, scale), flip=flip), min_visible=0, min_size=0)

    made = augment(blocks(seed), seed)

    covered = np.zeros((48, 64), bool)
    for box in made.boxes.xyxy:
        x1, y1, x2, y2 = np.round(box).astype(int)
        low, high = np.ceil(box[:2] - 0.5).astype(int), np.floor(box[2:] + 0.5).astype(int)
        covered[low[1] : high[1], low[0] : high[0]] = True  # a centre on the edge is on both sides
        inside = made.semantic[y1 + 1 : max(y2 - 1, 0), x1 + 1 : max(x2 - 1, 0)]
        assert (inside == 2).all()
    edge = np.zeros((48, 64), bool)
    edge[1:-1, 1:-1] = (made.semantic == 2)[1:-1, 1:-1]
    for axis in (0, 1):
        for by in (-1, 1):
            edge &= np.roll(made.semantic == 2, by, axis)
    assert not (edge & ~covered).any()


def test_doing_nothing_changes_no_pixel():
    sample = blocks()

    made = Augment(SIZE)(sample, 0)

    np.testing.assert_array_equal(made.image, sample.image)
    np.testing.assert_array_equal(made.semantic, sample.semantic)
    np.testing.assert_allclose(made.boxes.xyxy, sample.boxes.xyxy)


def test_flipping_twice_is_nothing():
    flip = Augment(SIZE, view={"scale": (1, 1), "flip": 1.0})
    sample = blocks()

    once = flip(sample, 0)
    twice = flip(once, 0)

    np.testing.assert_array_equal(once.image, sample.image[:, ::-1])
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_allclose(
        once.boxes.xyxy[0],
        [90, 0, 90, 0] + np.array([-1, 1, -1, 1]) * sample.boxes.xyxy[0][[2, 1, 0, 3]],
    )
    np.testing.assert_allclose(twice.boxes.xyxy, sample.boxes.xyxy)


def test_a_turned_box_is_the_tight_box_of_its_turned_corners():
    """Turned by 90 degrees about (45, 30): x' = y + 15, y' = 75 - x."""
    matrix = np.array([[0.0, 1, 15], [-1, 0, 75], [0, 0, 1]])
    boxes = SampleBoxes(np.array([[40.0, 20, 60, 30]]), np.array([0]), np.array([False]))
    sample = Sample("a", np.zeros((*SIZE, 3), np.uint8), boxes=boxes)

    made = apply_view(matrix, sample, SIZE, min_visible=0.3, min_size=4)

    np.testing.assert_allclose(made.boxes.xyxy, [[35, 15, 45, 35]])


def test_boxes_are_clipped_and_what_is_left_of_them_decides():
    """Seen through a window that starts 50 pixels to the right."""
    matrix = np.array([[1.0, 0, -50], [0, 1, 0], [0, 0, 1]])
    xyxy = np.array([
        [55.0, 0, 75, 20],   # whole
        [40, 0, 60, 20],     # half of it is left
        [33, 0, 53, 20],     # 3 of 20 columns: ignored
        [10, 0, 40, 20],     # outside: gone
        [80, 0, 120, 20],    # reaches out of the original: clipped there first
        [60, 30, 63, 50],    # three pixels wide: ignored
    ])  # fmt: skip
    boxes = SampleBoxes(xyxy, np.arange(6), np.zeros(6, bool))
    sample = Sample("a", np.zeros((*SIZE, 3), np.uint8), boxes=boxes)

    made = apply_view(matrix, sample, (60, 60), min_visible=0.3, min_size=4).boxes

    np.testing.assert_allclose(
        made.xyxy,
        [[5, 0, 25, 20], [0, 0, 10, 20], [0, 0, 3, 20], [30, 0, 40, 20], [10, 30, 13, 50]],
    )
    assert made.label.tolist() == [0, 1, 2, 4, 5]
    assert made.ignore.tolist() == [False, False, True, False, True]


def test_boxes_grow_with_the_size_of_the_step():
    augment = Augment((60, 90))
    small, large = (augment(blocks(), 0, size=size) for size in ((60, 90), (120, 180)))

    np.testing.assert_allclose(large.boxes.xyxy, 2 * small.boxes.xyxy)
    assert large.image.shape == (120, 180, 3)


def test_calibration_follows_the_view():
    """A camera point projects onto the same spot of the street before and after."""
    projection = np.array([[50.0, 0, 44.5, 5], [0, 50, 29.5, 0], [0, 0, 1, 0.01]])
    point = np.array([0.2, -0.1, 5, 1])
    sample = Sample("a", np.zeros((*SIZE, 3), np.uint8), projection=projection)
    view = View((1.3, 1.3), flip=1.0, rotate=10, perspective=0.05)
    matrix = draw_view(view, np.random.default_rng(5), sample, (48, 64))

    made = apply_view(matrix, sample, (48, 64), min_visible=0.3, min_size=4)

    def pixel(p, half):
        x, y, w = p @ point
        return np.array([x / w + half, y / w + half, 1])

    expected = matrix @ pixel(projection, 0.5)
    np.testing.assert_allclose(pixel(made.projection, 0.5)[:2], expected[:2] / expected[2])


def test_calibration_is_dropped_where_no_matrix_says_how_pixels_moved():
    steps = {"bend": {"_target_": "albumentations.ElasticTransform", "alpha": 5, "p": 1.0}}
    sample = Sample("a", blocks().image, projection=np.eye(3, 4))

    assert Augment(SIZE, steps=steps)(sample, 0).projection is None


def test_crops_around_a_class_show_rare_classes():
    label = np.zeros((200, 200), np.uint8)
    label[190:195, 5:10] = 1
    sample = Sample("rare", np.zeros((200, 200, 3), np.uint8), semantic=label)

    def shown(balance):
        augment = Augment((50, 50), view=View((1, 1), balance=balance))
        return np.mean([(augment(sample, s).semantic == 1).any() for s in range(60)])

    assert shown(1.0) > 0.4
    assert shown(0.0) < 0.2


def test_the_same_seed_gives_the_same_sample_and_another_seed_another():
    steps = {"noise": {"_target_": "albumentations.GaussNoise", "p": 1.0}}
    augment = Augment((48, 64), view={}, steps=steps)

    first, again, other = (augment(blocks(), s).image for s in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_steps_of_equal_probability_come_independently():
    steps = {
        "a": {"_target_": "albumentations.InvertImg", "p": 0.5},
        "b": {"_target_": "albumentations.ToGray", "p": 0.5},
    }
    augment = Augment((4, 4), steps=steps)
    red = Sample("red", np.full((4, 4, 3), (200, 0, 0), np.uint8))

    seen = {tuple(augment(red, seed).image[0, 0]) for seed in range(40)}

    assert len(seen) == 4


def test_moving_steps_of_albumentations_keep_labels_and_ignore_what_they_uncover():
    steps = {
        "turn": {"_target_": "albumentations.Rotate", "limit": [20, 20], "p": 1.0},
        "zoom": {"_target_": "albumentations.Affine", "scale": [0.7, 0.7], "p": 1.0},
    }

    made = Augment((120, 180), view={"scale": (2, 2), "flip": 0}, steps=steps)(blocks(), 3)

    assert (made.semantic[0] == 255).all()
    assert drifted(made) < 0.01
    assert 0 < len(made.boxes.xyxy) <= len(blocks().boxes.xyxy)


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ({"fog": {"_target_": "albumentations.RandomFog", "thickness": 3}}, "steps.fog.*thickness"),
        ({"fog": {"_target_": "albumentations.Fogg"}}, r"steps\.fog\._target_.*Fogg"),
        ({"blur": {"_target_": "albumentations.GaussianBlur", "p": 7}}, r"steps\.blur.* p "),
    ],
)
def test_what_albumentations_does_not_know_is_an_error(steps, named):
    with pytest.raises(PerceptionError, match=named):
        Augment((8, 8), steps=steps)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"zoom": 2}, r"augment\.view\.zoom: found an unknown option"),
        ({"scale": 2}, r"augment\.view\.scale: found 2, expected \[smallest, largest\]"),
        ({"scale": [2, 1]}, r"augment\.view\.scale: found \[2, 1\]"),
        ({"scale_of": "metres"}, r"view\.scale_of: found metres, expected one of pixels, contain"),
    ],
)
def test_a_wrong_option_of_the_view_is_named(view, message):
    with pytest.raises(PerceptionError, match=message):
        Augment((8, 8), view=view)


def test_a_label_of_fractions_keeps_them():
    """docs/add_a_head.md warps metres."""
    metres = np.array([[0.25, 20.5]], np.float32)

    moved = geometry._warp(metres, np.eye(3), (1, 3), cv2.INTER_NEAREST, (0,))

    assert moved.tolist() == [[0.25, 20.5, 0.0]]


@pytest.mark.parametrize(
    "size", [0, [64], [64, 0], [-64, 96], ["a", 96], "64x96", [64.5, 96], [64, 96, 3]]
)
def test_a_size_that_is_none_is_named(size):
    with pytest.raises(PerceptionError, match=r"augment\.size: found "):
        Augment(size)


def step(name, **arguments):
    return {"_target_": f"albumentations.{name}", "p": 1.0, **arguments}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            step("Normalize"),
            r"steps\.x: found Normalize: float32 values.*normalises pictures itself",
        ),
        (step("ToFloat"), r"steps\.x: found ToFloat: float32 values"),
        (step("FromFloat"), r"steps\.x: found FromFloat: float16 values"),
        (step("RandomScale", scale_limit=0.4), r"RandomScale: \d+x\d+ pixels instead of 90x60"),
        (step("Resize", height=30, width=40), "Resize: 40x30 pixels instead of 90x60"),
        (step("CenterCrop", height=10, width=20), "CenterCrop: 20x10 pixels"),
        (step("RandomCrop", height=100, width=20), "RandomCrop: CropSizeError"),
        (step("Transpose"), "Transpose: 60x90 pixels instead of 90x60"),
        (step("ToGray", num_output_channels=1), "ToGray: 1 channel,"),
        (step("ToTensorV2"), "ToTensorV2: a Tensor instead of an array"),
        (step("Pad3D", padding=3), "Pad3D: nothing happens to pictures"),
        (step("OverlayElements"), "OverlayElements: .*overlay_metadata"),
        (step("Rotate", mask_interpolation=1), "Rotate: labels are averaged with their neighbours"),
        (
            step("OneOf", transforms=[step("Blur"), step("Normalize")]),
            r"steps\.x\.transforms\.1: found Normalize: float32",
        ),
    ],
)
def test_a_transform_whose_result_cannot_be_trained_on_is_named_before_the_first_step(
    made, message
):
    with pytest.raises(PerceptionError, match=message):
        Augment(SIZE, steps={"x": made}).check()


@pytest.mark.parametrize(
    "made",
    [
        step("ToGray"),
        step("CoarseDropout"),
        step("HorizontalFlip"),
        step("RandomSizedCrop", min_max_height=[20, 50], size=[60, 90]),
        step("OneOf", transforms=[step("Rotate", limit=5), step("RandomFog")]),
        step("ChannelDropout"),
        step("ColorJitter"),
        step("ElasticTransform"),
        step("Morphological"),
    ],
)
def test_a_transform_that_keeps_pictures_and_labels_is_taken(made):
    augment = Augment(SIZE, steps={"x": made})
    augment.check()
    before = augment(blocks(), 4)

    augment.check()

    np.testing.assert_array_equal(augment(blocks(), 4).image, before.image)


@pytest.mark.parametrize("name", ["Normalize", "RandomScale"])
def test_a_step_that_was_not_tried_never_reaches_a_batch(name):
    steps = {"x": step(name), "y": step("HorizontalFlip")}

    with pytest.raises(PerceptionError, match=r"steps, frame blocks: found (float32|.* pixels)"):
        Augment(SIZE, steps=steps)(blocks(), 0)
