"""Small whole cases of every pixel benchmark, written into a folder: what a test can damage."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HEIGHT, WIDTH = 40, 64
CALIBRATION = """P2: 40 0 32 0 0 40 8 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_cam_to_road: 1 0 0 0 0 1 0 -1.6 0 0 1 0
"""


@dataclass(frozen=True)
class Case:
    """A benchmark's files on disk."""

    name: str
    target: Path
    predicted: Path
    files: dict[str, Path]  # by role: gt, pred, instances, calib, list, mask, json
    options: dict[str, Any] = field(default_factory=dict)


def write_png(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def road(root: Path, name: str = "kitti_road/perspective") -> Case:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[15:, 12:50] = True
    label = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    label[..., 2] = 255
    label[mask] = (255, 0, 255)
    confidence = np.where(mask, 200, 40).astype(np.uint8)
    confidence[20, 20], confidence[2, 2] = 30, 220
    files = {
        "gt": write_png(root / "gt" / "uu_road_000000.png", label),
        "pred": write_png(root / "pred" / "uu_road_000000.png", confidence),
    }
    options: dict[str, Any] = {}
    if name.endswith("bev"):
        files["calib"] = root / "calib" / "uu_000000.txt"
        files["calib"].parent.mkdir()
        files["calib"].write_text(CALIBRATION)
        options["calib"] = root / "calib"
    if name.endswith("raw"):
        files["pred"].unlink()
        files["pred"] = files["pred"].with_suffix(".npy")
        np.save(files["pred"], confidence / 255)
    return Case(name, root / "gt", root / "pred", files, options)


def bev(root: Path) -> Case:
    return road(root, "kitti_road/bev")


def raw(root: Path) -> Case:
    return road(root, "kitti_road/kittiseg_raw")


def _street() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label ids, instance ids, prediction."""
    labels = np.full((HEIGHT, WIDTH), 7, np.uint8)
    labels[:14] = 23
    labels[:2] = 4
    labels[20:36, 10:30] = 26
    instances = labels.astype(np.uint16)
    instances[labels == 26] = 26001
    predicted = np.roll(labels, 2, axis=1)
    return labels, instances, predicted


def cityscapes_pixel(root: Path) -> Case:
    labels, instances, predicted = _street()
    stem = "ulm_000000_000019"
    files = {
        "gt": write_png(root / "gt" / "ulm" / f"{stem}_gtFine_labelIds.png", labels),
        "instances": write_png(root / "gt" / "ulm" / f"{stem}_gtFine_instanceIds.png", instances),
        "pred": write_png(root / "pred" / "ulm" / f"{stem}_pred.png", predicted),
    }
    return Case("cityscapes/pixel", root / "gt", root / "pred", files)


def cityscapes_instance(root: Path) -> Case:
    _, instances, predicted = _street()
    stem = "ulm_000000_000019"
    listed = root / "pred" / f"{stem}.txt"
    files = {
        "gt": write_png(root / "gt" / f"{stem}_gtFine_instanceIds.png", instances),
        "pred": write_png(
            root / "pred" / "masks" / f"{stem}_0.png", (predicted == 26).astype(np.uint8) * 255
        ),
        "list": listed,
    }
    listed.write_text(f"masks/{stem}_0.png 26 0.9\n")
    return Case("cityscapes/instance", root / "gt", root / "pred", files)


def panoptic(root: Path) -> Case:
    labels, _, predicted = _street()
    files = {}
    for side, ids in (("gt", labels), ("pred", predicted)):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        image[..., 2] = np.where(ids == 4, 0, ids)  # red
        files[side] = write_png(root / side / "ulm.png", image)
        segments = [
            {"id": i, "category_id": i, "area": int((ids == i).sum()), "iscrowd": 0}
            for i in (7, 23, 26)
        ]
        content = {
            "categories": [{"id": i, "name": str(i), "isthing": int(i == 26)} for i in (7, 23, 26)],
            "annotations": [{"image_id": "ulm", "file_name": "ulm.png", "segments_info": segments}],
        }
        files[f"{side}_json"] = root / f"{side}.json"
        files[f"{side}_json"].write_text(json.dumps(content))
    return Case("cityscapes/panoptic", root / "gt.json", root / "pred.json", files)


def semantic(root: Path) -> Case:
    labels = np.full((HEIGHT, WIDTH), 3, np.uint8)
    labels[:15] = 0
    labels[:2] = 11
    files = {
        "gt": write_png(root / "gt" / "0001TP_000000.png", labels),
        "pred": write_png(root / "pred" / "0001TP_000000.png", np.roll(labels, 3, axis=0)),
    }
    return Case("semantic/pixel", root / "gt", root / "pred", files, {"scheme": "camvid"})


def bdd(root: Path) -> Case:
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    label[20:, 20:40] = 255
    files = {
        "gt": write_png(root / "gt" / "b0.png", label),
        "pred": write_png(root / "pred" / "b0.png", (np.roll(label, 3, 1) > 0).astype(np.uint8)),
    }
    return Case("bdd/lane", root / "gt", root / "pred", files)


ALL = (road, bev, raw, cityscapes_pixel, cityscapes_instance, panoptic, semantic, bdd)
