"""Scores of files on disk: `score("kitti_road/bev", gt, pred, calib=...)`.

Finds the files of a benchmark, hands their contents to its evaluator, and tells the result.
Nothing here loads torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from perception.errors import UsageError
from perception.evaluation.benchmark import Benchmark
from perception.evaluation.run import Outcome, run_benchmark

# protocol name: (module, class, what it is)
BENCHMARKS = {
    "kitti_road/perspective": ("kitti_road.files", "KittiRoad", "KITTI road in the image"),
    "kitti_road/bev": (
        "kitti_road.files",
        "KittiRoad",
        "KITTI road in bird's-eye view (the ranking)",
    ),
    "kitti_object/kitti_2019": (
        "kitti_object.files",
        "KittiObject",
        "KITTI object by the official kit",
    ),
    "kitti_object/prclibo_2017": (
        "kitti_object.files",
        "KittiObject",
        "KITTI object as before 2019",
    ),
    "kitti_object/kittibox_2015": (
        "kitti_object.files",
        "KittiObject",
        "KITTI object as KittiBox does",
    ),
    "kitti_road/kittiseg_raw": (
        "kitti_road.raw_files",
        "KittiSegRaw",
        "KITTI road as KittiSeg does",
    ),
    "cityscapes/pixel": ("cityscapes.pixel_files", "CityscapesPixel", "Cityscapes IoU and iIoU"),
    "cityscapes/instance": (
        "cityscapes.instance_files",
        "CityscapesInstance",
        "Cityscapes instance AP",
    ),
    "cityscapes/panoptic": ("cityscapes.panoptic_files", "CityscapesPanoptic", "panoptic quality"),
    "semantic/pixel": (
        "semantic.files",
        "Semantic",
        "IoU under any label scheme (CamVid, IDD, yours)",
    ),
    "bdd/drivable": ("bdd.files", "BddMasks", "drivable area as the multi-task papers do"),
    "bdd/lane": ("bdd.files", "BddMasks", "lane lines as the multi-task papers do"),
    "voc/2007": ("voc.files", "Voc", "Pascal VOC with 11 recall steps"),
    "voc/area": ("voc.files", "Voc", "Pascal VOC by the area under the curve"),
    "coco_style": ("voc.files", "CocoStyle", "VOC's AP, mean over overlaps 0.50 to 0.95"),
}


def benchmark_class(name: str) -> type[Benchmark[Any, Any]]:
    """The class of a protocol name, or of `my_package.my_module:MyBenchmark`."""
    if ":" in name:
        return _own_class(name)
    if name not in BENCHMARKS:
        raise UsageError(
            f"benchmark {name}",
            "no such protocol",
            f"one of {', '.join(BENCHMARKS)}",
            "See `perception score --help`.",
        )
    module, kind, _ = BENCHMARKS[name]
    result: type[Benchmark[Any, Any]] = getattr(
        importlib.import_module(f"perception.evaluation.{module}"), kind
    )
    return result


def _own_class(name: str) -> type[Benchmark[Any, Any]]:
    module, _, kind = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a module of the working directory, for worker processes too
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except (ImportError, ValueError) as error:
        raise UsageError(f"benchmark {name}", str(error), "a module that can be imported") from None
    if not (isinstance(found, type) and issubclass(found, Benchmark)):
        raise UsageError(
            f"benchmark {name}", f"no benchmark {kind} in {module}", "a class that is a Benchmark"
        )
    return found


def create(name: str, options: Mapping[str, Any]) -> Benchmark[Any, Any]:
    """The benchmark `name` with its options; options that are None take their default."""
    kind = benchmark_class(name)
    known = {f.name for f in fields(kind)} - {"name"}
    given = {key: value for key, value in options.items() if value is not None}
    if unknown := set(given) - known:
        raise UsageError(
            f"benchmark {name}",
            f"option {sorted(unknown)[0]}",
            f"one of {', '.join(sorted(known)) or 'no option'}",
            "Leave it out.",
        )
    return kind(name, **given)


def score(
    name: str, target: Path | str, predicted: Path | str, *, workers: int = 1, **options: Any
) -> Outcome:
    """Scores the files below two folders (or two files, where the benchmark has one per side).

    Raises:
        PerceptionError: a file is missing, cannot be read, or does not fit; nothing is scored.
    """
    return run_benchmark(create(name, options), Path(target), Path(predicted), workers=workers)
