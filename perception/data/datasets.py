"""A data set for training: the frames of one split, read and turned into samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.data.batch import Sample, SampleBoxes
from perception.errors import PerceptionError
from perception.formats.frames import FrameFiles, find_frames
from perception.formats.manifest import BoxClass, Manifest, load_manifest
from perception.labels import IGNORE_INDEX, LabelMap, LabelScheme, load_map
from perception.structures import Boxes, Frame, RoadLabel, SemanticLabel

TASKS = ("road", "boxes", "semantic")


@dataclass(frozen=True)
class FrameDataset:
    """Frames on disk and the tasks they are used for."""

    manifest: Manifest
    frames: tuple[FrameFiles, ...]
    tasks: tuple[str, ...]
    expected: int | None = None  # frames of the complete split
    merge: LabelMap | None = None  # semantic classes are merged by this table
    box_classes: tuple[BoxClass, ...] = ()

    @property
    def name(self) -> str:
        """The name of its manifest."""
        return self.manifest.name

    @property
    def scheme(self) -> LabelScheme | None:
        """The semantic classes that are trained; None without the task."""
        if "semantic" not in self.tasks:
            return None
        return self.merge.target if self.merge else self.manifest.scheme

    @property
    def box_names(self) -> tuple[str, ...]:
        """Names of the box classes, in order of `BoxTarget.label`."""
        return tuple(c.name for c in self.box_classes)

    @property
    def summary(self) -> str:
        """E.g. "camvid: 367 of 367 frames"."""
        of = f" of {self.expected}" if self.expected is not None else ""
        return f"{self.name}: {len(self.frames)}{of} frames"

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> Frame:
        """Frame `index`, all its labels as they stand on disk (image lazily)."""
        return self.manifest.reader_module.read(self.frames[index], self.manifest)

    def labelled(self, index: int) -> Frame:
        """Frame `index` with semantic classes merged, as predictions are compared with it."""
        frame = self.frame(index)
        if self.merge is None or frame.semantic is None:
            return frame
        scheme = self.merge.target
        ids = scheme.train_to_id[self.merge(frame.semantic.train_ids)]
        return replace(frame, semantic=SemanticLabel(ids, scheme))

    def sample(self, index: int) -> Sample:
        """Frame `index` with the targets of the tasks, at full size."""
        frame = self.manifest.reader_module.read(self._trained(index), self.manifest)
        projection = frame.calibration.matrices.get("P2") if frame.calibration else None
        return Sample(
            key=frame.key,
            image=frame.image.read(),
            projection=projection,
            road=self.road_target(frame) if "road" in self.tasks else None,
            semantic=self.semantic_target(frame) if "semantic" in self.tasks else None,
            boxes=self.box_target(frame) if "boxes" in self.tasks else None,
        )

    def _trained(self, index: int) -> FrameFiles:
        """Frame `index` without the labels that no task asks for: decoding them takes time."""
        files = self.frames[index]
        wanted = {*_needed(self.manifest, self.tasks), "calibration"}
        unused = self.manifest.optional - wanted
        return replace(files, labels={n: p for n, p in files.labels.items() if n not in unused})

    def road_target(self, frame: Frame) -> NDArray[np.uint8]:
        """(H, W): 1 road, 0 not, 255 unsure."""
        if frame.road is None:
            raise self._lacks(frame, "road")
        return road_ids(frame.road)

    def semantic_target(self, frame: Frame) -> NDArray[np.uint8]:
        """(H, W) train ids of `scheme`."""
        if frame.semantic is None:
            raise self._lacks(frame, "semantic")
        ids = frame.semantic.train_ids
        return self.merge(ids) if self.merge else ids

    def box_target(self, frame: Frame) -> SampleBoxes:
        """Boxes of the chosen classes and ignored regions."""
        if frame.boxes is None:
            raise self._lacks(frame, "boxes")
        return chosen_boxes(frame.boxes, self.box_classes)

    def _lacks(self, frame: Frame, task: str) -> PerceptionError:
        return PerceptionError(
            f"{self.name}: frame {frame.key}",
            f"no {task} label",
            f"one, because the task {task} is asked of {self.name}",
            "Choose other tasks for this data set, or another split.",
        )


def open_dataset(
    name: str | Path,
    root: str | Path,
    split: str,
    *,
    tasks: Sequence[str],
    merge: str | None = None,
    box_classes: Sequence[str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
) -> FrameDataset:
    """The data set of a packaged name or dataset.yaml below `root`.

    Args:
        name: packaged name, or the path of a dataset.yaml.
        root: the folder that its layout starts in.
        split: a split of the manifest, or a .txt file of keys.
        tasks: some of road, boxes, semantic.
        merge: a table of `datasets/merges`, or a YAML file.
        box_classes: classes of the manifest's `boxes`, in the head's order; None: all.
        include, exclude: shell patterns of keys, e.g. "0001TP_*": whole recordings in or out.
        limit: only the first so many frames.

    Raises:
        PerceptionError: nothing found, an unknown split, task or class, a label that is missing.
    """
    declared = declare_dataset(name, tasks=tasks, merge=merge, box_classes=box_classes)
    manifest = declared.manifest
    listing = find_frames(manifest, Path(root), split, needed=_needed(manifest, tasks))
    frames = tuple(f for f in listing.frames if _chosen(f.key, include, exclude))[:limit]
    if not frames:
        raise PerceptionError(
            f"{manifest.name}: include, exclude",
            f"none of {len(listing.frames)} frames",
            "patterns that leave some frames",
            f"Keys look like {listing.frames[0].key}.",
        )
    return replace(declared, frames=frames, expected=listing.expected)


def declare_dataset(
    name: str | Path,
    *,
    tasks: Sequence[str],
    merge: str | None = None,
    box_classes: Sequence[str] | None = None,
) -> FrameDataset:
    """A data set without frames: its classes and tasks, from its manifest alone."""
    manifest = load_manifest(name)
    for task in tasks:
        if task not in TASKS:
            raise PerceptionError(
                f"{manifest.name}: tasks", task, f"some of {', '.join(TASKS)}", "Correct the name."
            )
    names = tuple(box_classes) if box_classes is not None else None
    return FrameDataset(
        manifest=manifest,
        frames=(),
        tasks=tuple(tasks),
        merge=load_map(manifest.scheme, merge) if merge and "semantic" in tasks else None,
        box_classes=manifest.box_classes(names) if "boxes" in tasks else (),
    )


def frames_of_class(dataset: FrameDataset) -> list[list[int]]:
    """Per class, the indices of the frames that show it; reads every label once.

    Classes are the semantic ones, else the box classes, else not-road and road.
    """
    from rich.console import Console
    from rich.progress import track

    found: dict[int, list[int]] = {}
    console = Console(stderr=True)
    for index in track(
        range(len(dataset)),
        f"classes of {dataset.name}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        frame = dataset.frame(index)
        if "semantic" in dataset.tasks:
            present = np.flatnonzero(np.bincount(dataset.semantic_target(frame).ravel()))
        elif "boxes" in dataset.tasks:
            boxes = dataset.box_target(frame)
            present = np.unique(boxes.label[~boxes.ignore])
        else:
            present = np.unique(dataset.road_target(frame))
        for c in present[present != IGNORE_INDEX].tolist():
            found.setdefault(c, []).append(index)
    return [found[c] for c in sorted(found)]


def road_ids(label: RoadLabel) -> NDArray[np.uint8]:
    """(H, W): 1 road, 0 not, 255 where not valid."""
    ids = label.road.astype(np.uint8)
    ids[~label.valid] = IGNORE_INDEX
    return ids


def chosen_boxes(boxes: Boxes, classes: Sequence[BoxClass]) -> SampleBoxes:
    """Boxes of the chosen classes; neighbours and DontCare regions as `ignore`; no others.

    Type names are compared without case, as the benchmarks do.

    A neighbour that is a chosen class of its own counts as that class.
    """
    label_of = {t.lower(): i for i, c in enumerate(classes) for t in c.types}
    neighbours = {t.lower(): i for i, c in enumerate(classes) for t in c.neighbours}
    near = {t: i for t, i in neighbours.items() if t not in label_of}
    names = [name.lower() for name in boxes.names.tolist()]
    label = np.array([label_of.get(n, near.get(n, -1)) for n in names], np.int64)
    ignore = boxes.ignore | np.array([n in near for n in names], bool)
    kept = (label >= 0) | boxes.ignore
    return SampleBoxes(boxes.xyxy[kept], np.maximum(label, 0)[kept], ignore[kept])


def _needed(manifest: Manifest, tasks: Sequence[str]) -> tuple[str, ...]:
    """Parts of the layout that the tasks read."""
    derived = bool(manifest.road) and "road" not in manifest.layout
    return tuple(dict.fromkeys("semantic" if t == "road" and derived else t for t in tasks))


def _chosen(key: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    inside = not include or any(fnmatch(key, p) for p in include)
    return inside and not any(fnmatch(key, p) for p in exclude)
