"""A data set for training: the frames of one split, read and turned into samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.data.batch import DenseTarget, Sample, SampleBoxes, Target
from perception.errors import PerceptionError
from perception.formats.contents import Contents, counted
from perception.formats.frames import FrameFiles, find_frames
from perception.formats.manifest import BoxClass, Manifest, load_manifest
from perception.labels import IGNORE_INDEX, LabelMap, LabelScheme, load_map
from perception.progress import tracked
from perception.structures import Boxes, Frame, Label, MaskLabel, RoadLabel, SemanticLabel
from perception.tasks import Kind, Task

Tasks = Sequence[str] | Mapping[str, str]  # task names, or task name → label of the manifest


@dataclass(frozen=True)
class TaskSource:
    """A task of a data set, and what of its frames it is trained and scored on."""

    task: Task
    label: str  # its name in the manifest; usually the task's own
    merge: LabelMap | None = None  # CLASSES: merged by this table
    scheme: LabelScheme | None = None  # CLASSES: what is trained, after merging
    classes: tuple[BoxClass, ...] = ()  # BOXES: in order of `BoxTarget.label`

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of what is told apart; empty for masks and values."""
        if self.scheme is not None:
            return self.scheme.names
        return tuple(c.name for c in self.classes)

    def labelled(self, label: Label) -> Label:
        """The label as predictions of the task are compared with it."""
        if self.merge is None or not isinstance(label, SemanticLabel):
            return label
        scheme = self.merge.target
        return SemanticLabel(scheme.train_to_id[self.merge(label.train_ids)], scheme)

    def target(self, label: Label) -> Target:
        """What the network is to answer."""
        return _TARGETS[self.task.kind](self, label)


@dataclass(frozen=True)
class FrameDataset:
    """Frames on disk and the tasks they are used for."""

    manifest: Manifest
    frames: tuple[FrameFiles, ...]
    sources: tuple[TaskSource, ...]
    expected: int | None = None  # frames of the complete split
    not_chosen: int = 0  # frames that are there, and that include, exclude or limit leave out
    beside: Mapping[str, int] = field(default_factory=dict)  # other files there, by suffix

    @property
    def name(self) -> str:
        """The name of its manifest."""
        return self.manifest.name

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks."""
        return tuple(s.task.name for s in self.sources)

    @property
    def scheme(self) -> LabelScheme | None:
        """The classes of the task semantic; None without it."""
        return self._source("semantic").scheme if "semantic" in self.tasks else None

    @property
    def box_names(self) -> tuple[str, ...]:
        """The classes of the task boxes, in order of `BoxTarget.label`; empty without it."""
        return self._source("boxes").class_names if "boxes" in self.tasks else ()

    @property
    def summary(self) -> str:
        """E.g. "camvid: 367 of 367 frames"."""
        of = f" of {self.expected}" if self.expected is not None else ""
        return f"{self.name}: {len(self.frames)}{of} frames"

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> Frame:
        """Frame `index`, all its labels as they stand on disk (image lazily)."""
        result: Frame = self.manifest.reader_module.read(self.frames[index], self.manifest)
        return result

    def labelled(self, index: int) -> Frame:
        """Frame `index` with the label of each task, as predictions are compared with it."""
        frame = self.frame(index)
        own = {s.task.name: s.labelled(self._label(frame, s)) for s in self.sources}
        return replace(frame, labels={**frame.labels, **own})

    def sample(self, index: int) -> Sample:
        """Frame `index` with the targets of the tasks, at full size."""
        frame = self.manifest.reader_module.read(self._trained(index), self.manifest)
        projection = frame.calibration.matrices.get("P2") if frame.calibration else None
        return Sample(
            frame.key,
            frame.image.read(),
            targets={s.task.name: s.target(self._label(frame, s)) for s in self.sources},
            projection=projection,
        )

    def counts(self, index: int) -> Contents:
        """Pixels and objects of frame `index` by task and class, as they are trained."""
        frame = self.manifest.reader_module.read(self._trained(index), self.manifest)
        return {
            s.task.name: counted(s.labelled(self._label(frame, s)), s.task.name, s.classes)
            for s in self.sources
        }

    def target(self, frame: Frame, task: str) -> Target:
        """What the network is to answer for a task of the data set."""
        source = self._source(task)
        return source.target(self._label(frame, source))

    def _source(self, task: str) -> TaskSource:
        return next(s for s in self.sources if s.task.name == task)

    def _label(self, frame: Frame, source: TaskSource) -> Label:
        if source.label not in frame.labels:
            raise PerceptionError(
                f"{self.name}: frame {frame.key}",
                f"no {source.label} label",
                f"one, because the task {source.task.name} is asked of {self.name}",
                "Choose other tasks for this data set, or another split.",
            )
        return frame.labels[source.label]

    def _trained(self, index: int) -> FrameFiles:
        """Frame `index` without the labels that no task asks for: decoding them takes time."""
        files = self.frames[index]
        wanted = {*_needed(self.manifest, self.sources), "calibration"}
        unused = self.manifest.optional - wanted
        return replace(files, labels={n: p for n, p in files.labels.items() if n not in unused})


def open_dataset(
    name: str | Path,
    root: str | Path,
    split: str,
    *,
    tasks: Tasks,
    merge: str | Mapping[str, str] | None = None,
    box_classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
) -> FrameDataset:
    """The data set of a packaged name or dataset.yaml below `root`.

    Args:
        name: packaged name, or the path of a dataset.yaml.
        root: the folder that its layout starts in.
        split: a split of the manifest, or a .txt file of keys.
        tasks: labels of the data set that are trained (road, boxes, semantic, its own), or a table
            of the task's name and the label it is trained on.
        merge: a table of `datasets/merges`, or a YAML file, for the classes of every pixel; or one
            for each task of that kind, by task.
        box_classes: classes of the manifest's `boxes`, in the head's order; None: all. Or by task.
        include, exclude: shell patterns of keys, e.g. "0001TP_*": whole recordings in or out.
        limit: only the first so many frames.

    Raises:
        PerceptionError: nothing found, an unknown split, task or class, a label that is missing.
    """
    declared = declare_dataset(name, tasks=tasks, merge=merge, box_classes=box_classes)
    manifest = declared.manifest
    listing = find_frames(manifest, Path(root), split, needed=_needed(manifest, declared.sources))
    frames = tuple(f for f in listing.frames if _chosen(f.key, include, exclude))[:limit]
    if not frames:
        raise PerceptionError(
            f"{manifest.name}: include, exclude",
            f"none of {len(listing.frames)} frames",
            "patterns that leave some frames",
            f"Keys look like {listing.frames[0].key}.",
        )
    return replace(
        declared,
        frames=frames,
        expected=listing.expected,
        not_chosen=len(listing.frames) - len(frames),
        beside=listing.left_out,
    )


def declare_dataset(
    name: str | Path,
    *,
    tasks: Tasks,
    merge: str | Mapping[str, str] | None = None,
    box_classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
) -> FrameDataset:
    """A data set without frames: its classes and tasks, from its manifest only."""
    manifest = load_manifest(name)
    table = tasks if isinstance(tasks, Mapping) else {task: task for task in tasks}
    for option, value in (("merge", merge), ("boxes", box_classes)):
        for task in value if isinstance(value, Mapping) else ():
            if task not in table:
                raise PerceptionError(
                    f"{manifest.name}: {option}", task, f"one of its tasks: {', '.join(table)}"
                )
    sources = []
    for task, label in table.items():
        known = {**manifest.tasks}
        if label not in known:
            raise PerceptionError(f"{manifest.name}: tasks", label, f"some of {', '.join(known)}")
        kind = known[label].kind
        own = Task(task, kind, known[label].unit)
        if kind is Kind.CLASSES:
            sources.append(_classes_source(manifest, own, label, _of(merge, task)))
        elif kind is Kind.BOXES:
            names = _of(box_classes, task)
            classes = manifest.box_classes(None if names is None else tuple(names))
            sources.append(TaskSource(own, label, classes=classes))
        else:
            sources.append(TaskSource(own, label))
    return FrameDataset(manifest=manifest, frames=(), sources=tuple(sources))


def frames_of_class(dataset: FrameDataset) -> list[list[int]]:
    """Per class, the indices of the frames that show it; reads every label once.

    The classes are those of the first task with classes for every pixel, else with boxes, else a
    mask's: outside and inside.
    """
    ranked = [
        s
        for kind in (Kind.CLASSES, Kind.BOXES, Kind.MASK)
        for s in dataset.sources
        if s.task.kind is kind
    ]
    if not ranked:
        raise PerceptionError(
            f"{dataset.name}: balanced", f"tasks {', '.join(dataset.tasks)}", "a task with classes"
        )
    found: dict[int, list[int]] = {}
    for index in tracked(range(len(dataset)), len(dataset), f"classes of {dataset.name}"):
        target = dataset.target(dataset.frame(index), ranked[0].task.name)
        if isinstance(target, SampleBoxes):
            present = np.unique(target.label[~target.ignore])
        else:
            present = np.flatnonzero(np.bincount(target.array.ravel()))
        for c in present[present != IGNORE_INDEX].tolist():
            found.setdefault(c, []).append(index)
    return [found[c] for c in sorted(found)]


def mask_ids(label: RoadLabel | MaskLabel) -> NDArray[np.uint8]:
    """(H, W): 1 inside, 0 outside, 255 where not valid."""
    ids = label.mask.astype(np.uint8)
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


def _needed(manifest: Manifest, sources: Sequence[TaskSource]) -> tuple[str, ...]:
    """Parts of the layout that the tasks read."""
    needed = []
    for source in sources:
        own = manifest.targets.get(source.label)
        derived = source.label == "road" and manifest.road and "road" not in manifest.layout
        needed.append("semantic" if derived or (own and own.classes) else source.label)
    return tuple(dict.fromkeys(needed))


def _classes_source(manifest: Manifest, task: Task, label: str, merge: str | None) -> TaskSource:
    own = manifest.targets.get(label)
    scheme = own.scheme if own else manifest.scheme
    table = load_map(scheme, merge) if merge else None
    return TaskSource(task, label, table, table.target if table else scheme)


def _of(value: Any, task: str) -> Any:
    """What an option says for one task: a table has an entry for each."""
    return value.get(task) if isinstance(value, Mapping) else value


def _mask_target(_: TaskSource, label: Any) -> Target:
    return DenseTarget(Kind.MASK, mask_ids(label))


def _classes_target(source: TaskSource, label: Any) -> Target:
    ids = label.train_ids
    return DenseTarget(Kind.CLASSES, source.merge(ids) if source.merge else ids)


def _values_target(_: TaskSource, label: Any) -> Target:
    return DenseTarget(Kind.VALUES, label.values)


def _boxes_target(source: TaskSource, label: Any) -> Target:
    return chosen_boxes(label, source.classes)


_TARGETS: dict[Kind, Callable[[TaskSource, Any], Target]] = {
    Kind.MASK: _mask_target,
    Kind.CLASSES: _classes_target,
    Kind.VALUES: _values_target,
    Kind.BOXES: _boxes_target,
}


def _chosen(key: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    inside = not include or any(fnmatch(key, p) for p in include)
    return inside and not any(fnmatch(key, p) for p in exclude)
