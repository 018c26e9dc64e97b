"""The published Cityscapes programs on drawn streets, where they are installed."""

import json
import math
import os

import cv2
import numpy as np
import pytest

from perception.evaluation import score

SIZE = (120, 200)
FRAMES = tuple(f"town_{i:06d}_000019" for i in range(3))


def place(rng):
    return rng.integers(0, SIZE[0] - 10), rng.integers(0, SIZE[1] - 10)


def street(rng):
    """(H, W) instance ids with groups, void and instances of all sizes."""
    ids = np.full(SIZE, 7, np.uint16)
    for _ in range(6):
        y, x = place(rng)
        ids[y : y + rng.integers(5, 60), x : x + rng.integers(5, 80)] = rng.choice(
            [8, 11, 23, 4, 9]
        )
    for n in range(14):
        y, x = place(rng)
        kind, size = int(rng.choice([24, 25, 26, 26, 29, 33])), int(rng.choice([4, 9, 12, 20, 35]))
        ids[y : y + size, x : x + size + 3] = kind * 1000 + n if rng.random() > 0.25 else kind
    return ids


def shaken(rng, image):
    shift = (int(rng.integers(-2, 3)), int(rng.integers(-3, 4)))
    return np.roll(image, shift, (0, 1))


def assert_equal(theirs, ours):
    for key, value in theirs.items():
        mine = ours[key]
        both_nan = math.isnan(value) and math.isnan(mine)
        assert both_nan or mine == pytest.approx(value, abs=1e-9), key


@pytest.fixture(scope="module")
def official():
    """The programs look for these variables when they are imported."""
    pytest.importorskip("cityscapesscripts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "CITYSCAPES_RESULTS", "/nonexistent")
        patch.setitem(os.environ, "CITYSCAPES_DATASET", "/nonexistent")
        from cityscapesscripts.evaluation import (
            evalInstanceLevelSemanticLabeling,
            evalPanopticSemanticLabeling,
            evalPixelLevelSemanticLabeling,
        )

        yield (
            evalPixelLevelSemanticLabeling,
            evalInstanceLevelSemanticLabeling,
            evalPanopticSemanticLabeling,
        )


@pytest.mark.parametrize("seed", [0, 1])
def test_pixel_scores_equal_the_published_program(official, seed, tmp_path):
    rng = np.random.default_rng(seed)
    (tmp_path / "gt").mkdir()
    (tmp_path / "pred").mkdir()
    labels, predictions = [], []
    for frame in FRAMES:
        ids = street(rng)
        label = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
        labels.append(str(tmp_path / "gt" / f"{frame}_gtFine_labelIds.png"))
        predictions.append(str(tmp_path / "pred" / f"{frame}_pred.png"))
        cv2.imwrite(labels[-1], label)
        cv2.imwrite(labels[-1].replace("labelIds", "instanceIds"), ids)
        cv2.imwrite(predictions[-1], shaken(rng, label))
    program = official[0]
    program.args.quiet, program.args.JSONOutput = True, False
    program.args.evalInstLevelScore = True

    theirs = program.evaluateImgLists(predictions, labels, program.args)

    ours = score("cityscapes/pixel", tmp_path / "gt", tmp_path / "pred").result.values
    names = {
        "class_iou": "classScores",
        "class_iiou": "classInstScores",
        "category_iou": "categoryScores",
        "category_iiou": "categoryInstScores",
    }
    for mine, name in names.items():
        known = {k: v for k, v in theirs[name].items() if k != "license plate"}
        assert_equal(known, ours[mine])


@pytest.mark.parametrize("seed", [1, 2])
def test_instance_ap_equals_the_published_program(official, seed, tmp_path, monkeypatch):
    rng = np.random.default_rng(seed)
    (tmp_path / "gt").mkdir()
    (tmp_path / "pred").mkdir()
    for frame in FRAMES:
        ids = street(rng)
        cv2.imwrite(str(tmp_path / "gt" / f"{frame}_gtFine_instanceIds.png"), ids)
        present = [int(i) for i in np.unique(ids) if i >= 24]
        found = [(i if i < 1000 else i // 1000, shaken(rng, ids == i)) for i in present * 2]
        lines = []
        for n, (label, mask) in enumerate(found):
            cv2.imwrite(str(tmp_path / "pred" / f"{frame}_{n}.png"), mask.astype(np.uint8) * 255)
            lines.append(f"{frame}_{n}.png {label} {rng.integers(1, 20) / 20}\n")
        (tmp_path / "pred" / f"{frame}_pred.txt").write_text("".join(lines))
    program = official[1]
    monkeypatch.setattr(program, "writeDict2JSON", lambda *_: None)
    program.args.quiet, program.args.JSONOutput = True, False
    program.args.gtInstancesFile = str(tmp_path / "instances.json")
    program.args.predictionPath, program.args.predictionWalk = str(tmp_path / "pred"), None
    program.setInstanceLabels(program.args)

    theirs = program.evaluateImgLists(
        [str(tmp_path / "pred" / f"{frame}_pred.txt") for frame in FRAMES],
        [str(tmp_path / "gt" / f"{frame}_gtFine_instanceIds.png") for frame in FRAMES],
        program.args,
    )["averages"]

    ours = score("cityscapes/instance", tmp_path / "gt", tmp_path / "pred").result.values
    assert_equal({"AP": theirs["allAp"], "AP50": theirs["allAp50%"]}, ours)
    for name, values in theirs["classes"].items():
        assert_equal({"ap": values["ap"], "ap50": values["ap50%"]}, ours["classes"][name])


def panoptic_image(rng):
    ids = np.zeros(SIZE, np.int64)
    for n in range(25):
        y, x = place(rng)
        value = 1000 + 77 * n if rng.random() > 0.15 else 0
        ids[y : y + rng.integers(5, 60), x : x + rng.integers(5, 80)] = value
    return ids


@pytest.mark.parametrize("seed", [0, 1])
def test_panoptic_quality_equals_the_published_program(official, seed, tmp_path, capsys):
    rng = np.random.default_rng(seed)
    kinds = [7, 11, 23, 24, 26]
    annotations: dict[str, list] = {"gt": [], "pred": []}
    for frame in FRAMES:
        images = {"gt": panoptic_image(rng)}
        images["pred"] = shaken(rng, images["gt"])
        images["pred"][10:30, 20:60] = 70000
        kind = {int(i): int(rng.choice(kinds)) for i in np.unique(images["gt"])} | {70000: 26}
        for side, ids in images.items():
            cv2.imwrite(
                str(tmp_path / f"{side}_{frame}.png"),
                np.dstack([ids // 65536, ids // 256 % 256, ids % 256]).astype(np.uint8),
            )
            segments = [
                {
                    "id": i,
                    "category_id": kind[i],
                    "area": int((ids == i).sum()),
                    "iscrowd": int(kind[i] >= 24 and side == "gt" and rng.random() < 0.3),
                }
                for i in map(int, np.unique(ids))
                if i
            ]
            annotations[side].append(
                {"image_id": frame, "file_name": f"{side}_{frame}.png", "segments_info": segments}
            )
    categories = [{"id": i, "name": str(i), "isthing": int(i >= 24)} for i in kinds]
    for side, content in annotations.items():
        (tmp_path / f"{side}.json").write_text(
            json.dumps({"categories": categories, "annotations": content, "images": []})
        )
    files = [str(tmp_path / "gt.json"), str(tmp_path), str(tmp_path / "pred.json"), str(tmp_path)]

    theirs = official[2].evaluatePanoptic(*files, str(tmp_path / "result.json"))

    ours = score(
        "cityscapes/panoptic", files[0], files[2], gt_folder=tmp_path, pred_folder=tmp_path
    ).result.values
    for group in ("All", "Things", "Stuff"):
        assert_equal(theirs[group], ours[group])
    for category, values in theirs["per_class"].items():
        assert_equal(values, ours["per_class"][str(category)])
