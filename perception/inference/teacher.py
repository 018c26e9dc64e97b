"""A whole data set labelled by a teacher: label files, a record of who made them, its manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from perception.annotation.pseudo import (
    DONT_CARE,
    Mask,
    PseudoCounts,
    PseudoSettings,
    pseudo_labels,
)
from perception.data.datasets import FrameDataset
from perception.errors import PerceptionError
from perception.files import read_yaml, write_text
from perception.formats import kitti_object
from perception.formats.manifest import Manifest
from perception.formats.pseudo_labels import write_record
from perception.inference.tiles import Predictor
from perception.structures import Boxes, Frame

FOLDER = "boxes"  # of the label files, below the output


def label_dataset(
    dataset: FrameDataset,
    root: Path,
    teacher: Predictor,
    out: Path,
    settings: PseudoSettings,
    *,
    masks: Mapping[str, Sequence[str]] | None = None,
    record: Mapping[str, Any] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> PseudoCounts:
    """Writes `out/boxes/<key>.txt` of every frame, the record, and `out/dataset.yaml`.

    True boxes that a frame has are kept, and the teacher says nothing about their classes.

    Args:
        dataset: the frames; its manifest becomes that of the result with the boxes replaced.
        root: the folder of the data set.
        teacher: a run of ours, an exported detector, or either in tiles; names are our classes, or
            `ignore`.
        out: a folder for the labels.
        settings: when the teacher is believed.
        masks: class → names of semantic classes whose pixels its boxes must lie on.
        record: what else to write down, e.g. the teacher's file and its options.
        tick: called after each frame.

    Raises:
        PerceptionError: a frame without the semantic label that `masks` needs, or no such class.
    """
    masks = {name: tuple(names) for name, names in (masks or {}).items()}
    total = PseudoCounts()
    taught: set[str] = set()
    for index in range(len(dataset)):
        frame = dataset.frame(index)
        true = frame.boxes if frame.boxes is not None else Boxes.empty()
        found = teacher.predict(frame.image, key=frame.key, tasks=("boxes",)).boxes
        found = found if found is not None else Boxes.empty()
        found = found[~np.isin(found.names, _labelled(dataset, frame))]
        made = pseudo_labels(found, settings, _masks(frame, masks))
        taught |= set(made.boxes.names.tolist()) - {DONT_CARE}
        total += made.counts
        true = true.replace(names=np.where(true.ignore, DONT_CARE, true.names))
        path = out / FOLDER / f"{frame.key}.txt"
        kitti_object.write_labels(path, Boxes.concatenate([true, made.boxes]))
        tick()
    facts = {
        "task": "boxes",
        "dataset": dataset.name,
        "frames": len(dataset),
        "classes": sorted(taught),
        "masks": masks,
        **asdict(settings),
        "counts": asdict(total),
        **(record or {}),
    }
    write_record(out / FOLDER, facts)
    teacher_name = str(facts.get("teacher", "a model"))
    folder = os.path.relpath((out / FOLDER).resolve(), root.resolve())
    content = _content(dataset.manifest, Path(folder).as_posix(), sorted(taught), teacher_name)
    header = "# Written by `perception pseudo-label`: the boxes are a model's, boxes/ says whose.\n"
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    write_text(out / "dataset.yaml", header + text)
    return total


def file_facts(path: Path) -> dict[str, str]:
    """Name and SHA-256 of a teacher's file."""
    return {"teacher": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _labelled(dataset: FrameDataset, frame: Frame) -> list[str]:
    """Classes and types that people labelled on this frame."""
    if frame.boxes is None:
        return []
    classes = dataset.manifest.boxes
    return [n for c in classes for n in (c.name, *c.types)]


def _masks(frame: Frame, wanted: Mapping[str, Sequence[str]]) -> dict[str, Mask]:
    """Pixels of the named semantic classes, by box class; nothing is on ignored pixels."""
    if not wanted:
        return {}
    if frame.semantic is None:
        raise PerceptionError(f"frame {frame.key}", "no semantic label", "one, to check boxes with")
    scheme = frame.semantic.scheme
    found = {}
    for name, classes in wanted.items():
        for c in classes:
            if c not in scheme.by_name:
                known = ", ".join(scheme.names)
                raise PerceptionError(f"mask {name}", f"no class {c}", f"some of {known}")
        found[name] = np.isin(frame.semantic.ids, [scheme.by_name[c].id for c in classes])
    return found


def _content(
    manifest: Manifest, folder: str, taught: Sequence[str], teacher: str
) -> dict[str, Any]:
    """The data set's own dataset.yaml with the boxes of `folder` (below the root) for its own."""
    content = dict(read_yaml(manifest.path))
    boxes = {
        c.name: {"types": list(c.types), "neighbours": list(c.neighbours)} for c in manifest.boxes
    }
    boxes |= {name: {"types": [name]} for name in taught if name not in boxes}
    beside = manifest.path.parent.resolve()
    content["layout"] = {**content["layout"], "boxes": f"{folder}/{manifest.key}.txt"}
    content["optional"] = [n for n in content.get("optional") or [] if n != "boxes"]
    content["boxes"] = boxes
    content["pseudo"] = {"boxes": teacher}
    content["names"] = {part: str(beside / f) for part, f in (content.get("names") or {}).items()}
    for row in content["splits"].values():
        if row.get("list") and (beside / row["list"]).is_file():
            row["list"] = str(beside / row["list"])
    return content
