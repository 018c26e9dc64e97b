"""Requests about road, semantics, instances and panoptic segmentation."""

from pathlib import Path
from typing import Any

from perception.evaluation import score
from perception.evaluation.kitti_road.bev import to_bev
from perception.evaluation.kitti_road.files import read_homography
from perception.files import read_raster, write_image


def plain(request: dict[str, Any], folder: Path, out: Path) -> Any:
    """Two folders and options of the same names."""
    options = dict(request.get("params", {}))
    if "calib" in request:
        options["calib"] = folder / request["calib"]
    outcome = score(
        request["protocol"], folder / request["gt"], folder / request["pred"], **options
    )
    return outcome.result.values


def road(request: dict[str, Any], folder: Path, out: Path) -> Any:
    request["params"] = {"urban": False, **request.get("params", {})}
    return plain(request, folder, out)


def bev_transform(request: dict[str, Any], folder: Path, out: Path) -> Any:
    view = to_bev(
        read_raster(folder / request["input"]), read_homography(folder / request["calib"])
    )
    write_image(out / "bev.png", view)
    return {"image": "bev.png", "height": view.shape[0], "width": view.shape[1]}


def panoptic(request: dict[str, Any], folder: Path, out: Path) -> Any:
    sides = {side: request[side] for side in ("gt", "pred")}
    options = {f"{side}_folder": folder / given["folder"] for side, given in sides.items()}
    gt, pred = (folder / sides[side]["json"] for side in ("gt", "pred"))
    return score(request["protocol"], gt, pred, **options).result.values


ANSWERS = {
    "kitti_road/perspective": road,
    "kitti_road/bev": road,
    "kitti_road/bev_transform": bev_transform,
    "kitti_road/kittiseg_raw": plain,
    "cityscapes/pixel": plain,
    "cityscapes/instance": plain,
    "cityscapes/panoptic": panoptic,
    "bdd/drivable": plain,
    "bdd/lane": plain,
}
