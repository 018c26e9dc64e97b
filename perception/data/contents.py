"""What the data sets of a training hold: frames, pixels and objects by class, told at its start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perception.data.build import TaskSet
from perception.data.datasets import FrameDataset
from perception.errors import PerceptionError
from perception.formats.contents import (
    Contents,
    add_contents,
    empty_classes,
    holds_something,
    in_words,
)
from perception.progress import tracked
from perception.tasks import Kind

SAMPLE = 200  # frames whose labels are counted, spread over the data set


@dataclass(frozen=True)
class PartContents:
    """One split of a data set as it is trained or scored."""

    name: str  # of the data set
    part: str  # "train" or "val"
    frames: int
    counted: int  # frames whose labels were counted
    held: Contents
    kinds: Mapping[str, Kind]
    expected: int | None = None  # frames of the complete split
    not_chosen: int = 0  # left out by include, exclude or limit
    beside: Mapping[str, int] | None = None  # files beside the images that are no frames, by suffix

    @property
    def frames_in_words(self) -> str:
        """E.g. "57 of 7,481 frames, 3 not chosen"."""
        of = f" of {self.expected:,}" if self.expected not in (None, self.frames) else ""
        told = f"{self.frames:,}{of} frames"
        if self.not_chosen:
            told += f", {self.not_chosen:,} left out by include, exclude or limit"
        if self.beside:
            kinds = ", ".join(f"{n:,} {s or 'without suffix'}" for s, n in self.beside.items())
            told += f"; files beside the images, not used: {kinds}"
        return told

    @property
    def counted_in_words(self) -> str:
        """Of which frames the counts are; empty for all of them."""
        return "" if self.counted == self.frames else f"in {self.counted:,} of them, evenly spread"


@dataclass(frozen=True)
class TrainingContents:
    """All data sets of a training."""

    parts: tuple[PartContents, ...]
    shared: Mapping[str, int]  # data set → validation frames that are trained on, where there are

    def lines(self) -> Iterator[str]:
        """What to print at the start."""
        for part in self.parts:
            note = f" (labels counted {part.counted_in_words})" if part.counted_in_words else ""
            yield f"{part.name}, {part.part}: {part.frames_in_words}{note}"
            for task, counts in part.held.items():
                yield f"  {task}: {in_words(counts, part.kinds[task])}"

    def warnings(self) -> Iterator[str]:
        """One line for each task with classes that nothing shows; one for shared frames.

        Raises:
            PerceptionError: nothing of a task in any training set.
        """
        for where in ("train", "val"):
            parts = [part for part in self.parts if part.part == where]
            total = add_contents(part.held for part in parts)
            for task, counts in total.items():
                none = empty_classes(counts)
                if not none:
                    continue
                carrying = [part for part in parts if task in part.held]
                names = ", ".join(part.name for part in carrying)
                seen = sum(part.counted for part in carrying)
                if where == "train" and not holds_something(counts):
                    raise PerceptionError(
                        f"data sets {names}" if len(carrying) > 1 else f"data set {names}",
                        f"nothing of the task {task} ({', '.join(none)}) in {seen:,} frames",
                        "something to train on",
                        f"Correct the labels or the classes of {task}, or leave it out of tasks.",
                    )
                yield f"{names}, {where}: {task}: nothing of {', '.join(none)} in {seen:,} frames"
        for name, count in self.shared.items():
            yield f"{name}: {count:,} validation frames are also trained on"

    def values(self) -> dict[str, Any]:
        """Everything as plain values, for a file of the run."""
        return {
            "shared_frames": dict(self.shared),
            "parts": [
                {
                    "data_set": part.name,
                    "part": part.part,
                    "frames": part.frames,
                    "expected": part.expected,
                    "not_chosen": part.not_chosen,
                    "beside": dict(part.beside or {}),
                    "counted": part.counted,
                    "contents": {
                        task: {"kind": part.kinds[task].value, "counts": counts}
                        for task, counts in part.held.items()
                    },
                }
                for part in self.parts
            ],
        }


def training_contents(sets: Sequence[TaskSet], *, sample: int = SAMPLE) -> TrainingContents:
    """Counts the labels of `sample` frames of every split.

    Where these show nothing of a task, the rest is searched too.

    Raises:
        PerceptionError: a label that cannot be read.
    """
    parts = []
    for task_set in sets:
        parts.append(_part(task_set.name, "train", task_set.train, sample))
        if task_set.val is not None:
            parts.append(_part(task_set.name, "val", task_set.val, sample))
    trained = {f.image.resolve() for s in sets for f in s.train.frames}
    shared = {
        s.name: sum(f.image.resolve() in trained for f in s.val.frames) for s in sets if s.val
    }
    return TrainingContents(tuple(parts), {name: n for name, n in shared.items() if n})


def _part(name: str, part: str, dataset: FrameDataset, sample: int) -> PartContents:
    total = len(dataset)
    chosen = [i * total // sample for i in range(sample)] if total > sample else list(range(total))
    rest = sorted(set(range(total)) - set(chosen)) if part == "train" else []
    held: Contents = {}
    counted = 0
    for index in tracked([*chosen, *rest], total, f"labels of {name}"):
        if counted >= len(chosen) and all(map(holds_something, held.values())):
            break
        held = add_contents((held, dataset.counts(index)))
        counted += 1
    return PartContents(
        name,
        part,
        total,
        counted,
        held,
        {source.task.name: source.task.kind for source in dataset.sources},
        dataset.expected,
        dataset.not_chosen,
        dataset.beside,
    )
