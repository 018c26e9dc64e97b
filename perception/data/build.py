"""The configuration group `data`: several data sets, each with the tasks it is used for.

`sets` is a table name → options; one optimiser step takes one micro-batch of every set.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perception.data.augment import Augment, check_options
from perception.data.datasets import (
    FrameDataset,
    TaskSource,
    declare_dataset,
    frames_of_class,
    open_dataset,
)
from perception.data.loader import BatchStream
from perception.errors import PerceptionError
from perception.formats.pseudo_labels import refuse_tasks
from perception.labels import LabelScheme
from perception.lists import texts, values
from perception.tasks import Kind, Task

OPTIONS = {
    "dataset": None,  # packaged name or path of a dataset.yaml; null: the name of the set
    "root": None,
    "train": "train",  # split, list file (.txt), or {split: ..., include, exclude, limit}
    "val": "val",  # the same, also with a dataset, root, tasks of its own; null: no validation
    "tasks": None,  # labels that are trained, or a table: name of the task → label of the data set
    "batch_size": None,  # of all processes together
    "merge": None,  # table of datasets/merges, or one for each task: {semantic: ...}
    "boxes": None,  # names of the box classes in the head's order, or by task; null: all
    "balanced": False,  # frames are drawn by class instead of one after the other
    "sizes": (),  # multi-scale: [[height, width], ...], one per step, equally often
    "augment": None,  # what is other than in the common augmentation, for this set alone
}
OF_VAL = ("dataset", "root", "tasks")  # what the validation may have of its own
PART_OPTIONS = {  # of a table for train or val
    "train": ("split", "include", "exclude", "limit"),
    "val": ("split", "include", "exclude", "limit", *OF_VAL),
}


@dataclass(frozen=True)
class TaskSet:
    """One data set of a training run."""

    name: str
    train: FrameDataset
    val: FrameDataset | None
    batch_size: int
    augment: Augment
    sizes: tuple[tuple[int, int], ...] = ()
    balanced: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks whose labels its batches carry."""
        return self.train.tasks

    def stream(
        self, *, seed: int, workers: int = 1, rank: int = 0, processes: int = 1
    ) -> BatchStream:
        """Its batches; the seed is mixed with the name, so that sets do not depend on each other.

        Raises:
            PerceptionError: the batch does not divide among the processes, or frames are to be
                drawn by class and no class was found.
        """
        mixed = zlib.crc32(f"{seed}/{self.name}".encode())
        return BatchStream(
            self.train,
            self.augment,
            self.batch_size,
            seed=mixed,
            workers=workers,
            sizes=self.sizes,
            rank=rank,
            processes=processes,
            frames_of_class=frames_of_class(self.train) if self.balanced else (),
        )


def build_sets(data: Mapping[str, Any], augment: Augment) -> tuple[TaskSet, ...]:
    """The data sets of `data.sets`; those set to null are left out.

    Raises:
        PerceptionError: an unknown or missing option, or what opening a data set raises.
    """
    chosen = {name: options for name, options in data["sets"].items() if options is not None}
    if not chosen:
        raise PerceptionError("data.sets", "no data set", "at least one", "Choose data=...")
    return tuple(_set(str(name), options, augment) for name, options in chosen.items())


def build_augment(options: Mapping[str, Any]) -> Augment:
    """The augmentation of a table as in conf/augment.

    Raises:
        PerceptionError: an unknown option, transform or argument of a transform.
    """
    given = {k: v for k, v in options.items() if not str(k).startswith("_")}
    if "size" not in given:
        raise PerceptionError("augment.size", "nothing", "[height, width]", "Set it.")
    check_options(given)
    return Augment(**given)


@dataclass(frozen=True)
class Declared:
    """What the tasks of all data sets tell apart: what a network needs to know of its data."""

    tasks: Mapping[str, Task]
    schemes: Mapping[str, LabelScheme]  # of the tasks with a class for every pixel
    boxes: Mapping[str, tuple[str, ...]]  # classes of the tasks with boxes, in the head's order

    def class_names(self, task: str) -> tuple[str, ...]:
        """The classes of a task; empty for masks and values."""
        return self.schemes[task].names if task in self.schemes else self.boxes.get(task, ())


def declared(data: Mapping[str, Any]) -> Declared:
    """The tasks of `data.sets`, from the manifests only.

    A trained model needs its class names where its training data is not.

    Raises:
        PerceptionError: two sets tell other classes apart for one task, or it has two kinds.
    """
    sets = []
    for name, options in data["sets"].items():
        if options is not None:
            full = {**OPTIONS, **options}
            where = f"data.sets.{name}"
            one = declare_dataset(
                full["dataset"] or name,
                tasks=_tasks(full["tasks"], where),
                merge=full["merge"],
                box_classes=_box_classes(full["boxes"], where),
            )
            sets.append(TaskSet(str(name), one, None, 0, Augment((1, 1))))
    return declared_of(sets)


def declared_of(sets: Sequence[TaskSet]) -> Declared:
    """The tasks of some data sets; raises as `declared` does."""
    first: dict[str, tuple[str, TaskSource]] = {}
    for task_set in sets:
        for source in task_set.train.sources:
            name, known = first.setdefault(source.task.name, (task_set.name, source))
            if known.task != source.task:
                raise PerceptionError(
                    f"data.sets.{task_set.name}.tasks",
                    f"{source.task.name} of the kind {source.task.kind}",
                    f"the kind of {name}: {known.task.kind}",
                    "Give one of the tasks another name: tasks={NAME: LABEL}.",
                )
            if known.class_names != source.class_names:
                option = "merge" if source.task.kind is Kind.CLASSES else "boxes"
                names = known.class_names, source.class_names
                raise _disagree(name, names[0], task_set.name, names[1], option)
    sources = {task: source for task, (_, source) in first.items()}
    return Declared(
        {task: source.task for task, source in sources.items()},
        {task: source.scheme for task, source in sources.items() if source.scheme is not None},
        {t: s.class_names for t, s in sources.items() if s.task.kind is Kind.BOXES},
    )


def _set(name: str, options: Mapping[str, Any], augment: Augment) -> TaskSet:
    where = f"data.sets.{name}"
    for key in options:
        if key not in OPTIONS:
            raise PerceptionError(
                f"{where}.{key}", "an unknown option", f"one of {', '.join(OPTIONS)}"
            )
    full = {**OPTIONS, **options}
    for key in ("root", "tasks", "batch_size"):
        if not full[key]:
            raise PerceptionError(f"{where}.{key}", "nothing", "a value", f"Set {where}.{key}=...")
    train = _open(where, name, full, "train")
    val = _open(where, name, full, "val") if full["val"] else None
    if val is not None:
        refuse_tasks(f"{where}.val", val.manifest.pseudo, val.tasks)
    own = full["augment"]
    return TaskSet(
        name=name,
        train=train,
        val=val,
        batch_size=int(full["batch_size"]),
        balanced=bool(full["balanced"]),
        sizes=_sizes(full["sizes"], f"{where}.sizes"),
        augment=augment if own is None else augment.changed(own),
    )


def _open(where: str, name: str, options: Mapping[str, Any], part: str) -> FrameDataset:
    chosen = options[part]
    table: dict[str, Any] = {"split": chosen} if isinstance(chosen, str) else dict(chosen)
    if unknown := set(table) - set(PART_OPTIONS[part]):
        raise PerceptionError(
            f"{where}.{part}.{sorted(unknown)[0]}",
            "an unknown option",
            f"one of {', '.join(PART_OPTIONS[part])}",
        )
    options = {**options, **{key: table[key] for key in OF_VAL if key in table}}
    place = f"{where}.{part}"
    return open_dataset(
        options["dataset"] or name,
        options["root"],
        table["split"],
        tasks=_tasks(options["tasks"], where),
        merge=options["merge"],
        box_classes=_box_classes(options["boxes"], where),
        include=texts(table.get("include"), f"{place}.include"),
        exclude=texts(table.get("exclude"), f"{place}.exclude"),
        limit=table.get("limit"),
    )


def _tasks(value: object, where: str) -> tuple[str, ...] | dict[str, str]:
    if isinstance(value, Mapping):
        return {str(task): str(label) for task, label in value.items()}
    return texts(value, f"{where}.tasks")


def _box_classes(value: object, where: str) -> tuple[str, ...] | dict[str, tuple[str, ...]] | None:
    if isinstance(value, Mapping):
        return {str(t): texts(names, f"{where}.boxes.{t}") for t, names in value.items()}
    return None if value is None else texts(value, f"{where}.boxes")


def _sizes(value: object, where: str) -> tuple[tuple[int, int], ...]:
    """[[height, width], ...], or one [height, width]."""
    rows = values(value, where)
    if len(rows) == 2 and all(isinstance(n, int) for n in rows):
        rows = (rows,)
    try:
        return tuple((int(h), int(w)) for h, w in rows)
    except (TypeError, ValueError):
        raise PerceptionError(where, repr(value), "[[height, width], ...]") from None


def _disagree(
    a: str, names_a: Sequence[str], b: str, names_b: Sequence[str], option: str
) -> PerceptionError:
    return PerceptionError(
        f"data.sets.{b}",
        f"classes {', '.join(names_b)}",
        f"those of {a}: {', '.join(names_a)}",
        f"One head has one list of classes: set data.sets.{b}.{option}, or give the task of one "
        f"set a name and a head of its own.",
    )
