"""Settings that are a wish until a run begins, and are stored as what came of them.

trainer.frames=8: every data set trains on its first frames, not augmented, and is scored on them.
head.NAME.class_weights=balanced: weights of the classes from the labels that are trained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from perception.data.batch import DenseTarget
from perception.data.build import TaskSet, build_augment, build_sets
from perception.data.datasets import FrameDataset
from perception.errors import PerceptionError
from perception.labels import IGNORE_INDEX

SAMPLE = 200  # training frames of every data set, evenly spread, that are counted
RULES = ("balanced", "median_frequency")


def settle(config: DictConfig) -> list[str]:
    """Puts what was found into the configuration of a new run; a line on each."""
    OmegaConf.set_struct(config, False)
    lines = [*_few_frames(config), *_class_weights(config)]
    OmegaConf.set_struct(config, True)
    return lines


def weights_of_classes(
    rule: str, pixels: NDArray[np.int64], present: NDArray[np.int64]
) -> list[float]:
    """One weight per class; a class that was not seen weighs as much as the rarest one.

    balanced: all pixels / (classes * pixels of the class), as scikit-learn's `balanced`.
    median_frequency: median frequency / frequency, where a class's frequency is its share of the
    pixels of the frames that show it (Eigen and Fergus, ICCV 2015, section 6.3).

    Args:
        rule: one of `RULES`.
        pixels: (K,) labelled pixels of each class.
        present: (K,) labelled pixels of the frames that show it.
    """
    seen = pixels > 0
    raw = np.ones(len(pixels))
    if rule == "balanced":
        raw[seen] = pixels[seen].sum() / (seen.sum() * pixels[seen])
    else:
        frequency = pixels[seen] / present[seen]
        raw[seen] = np.median(frequency) / frequency
    raw[~seen] = raw[seen].max(initial=1.0)
    return [float(f"{value:.4g}") for value in raw]


# ---------------------------------------------------------------------------- few frames


def _few_frames(config: DictConfig) -> list[str]:
    frames = config.trainer.get("frames", default_value=None)
    if not frames:
        return []
    for options in config.data.sets.values():
        if options is None:
            continue
        part = options.get("train", "train")
        table = {"split": part} if isinstance(part, str) else OmegaConf.to_container(part)
        assert isinstance(table, dict)
        limit = min(int(frames), int(table.get("limit") or frames))
        options.train = {**table, "limit": limit}
        options.val = {**table, "limit": limit}
        options.augment = None
    plain = ("_target_", "_recursive_", "_convert_", "size")
    config.augment = {k: v for k, v in config.augment.items() if k in plain}
    return [f"trainer.frames={frames}: trained and evaluated on the same frames, not augmented"]


# ---------------------------------------------------------------------------- class weights


def _class_weights(config: DictConfig) -> list[str]:
    wanted = {
        str(task): str(head.class_weights)
        for task, head in config.head.items()
        if head and isinstance(head.get("class_weights"), str)
    }
    for task, rule in wanted.items():
        if rule not in RULES:
            raise PerceptionError(
                f"head.{task}.class_weights", rule, f"a list, a table, or {' or '.join(RULES)}"
            )
    if not wanted:
        return []
    data: Any = OmegaConf.to_container(config.data, resolve=True)
    augment: Any = OmegaConf.to_container(config.augment, resolve=True)
    sets = build_sets(data, build_augment(augment))
    lines = []
    for task, rule in wanted.items():
        names, pixels, present, frames = _count(sets, task)
        weights = weights_of_classes(rule, pixels, present)
        config.head[task].class_weights = weights
        told = ", ".join(f"{name} {w:g}" for name, w in zip(names, weights, strict=True))
        lines.append(f"head.{task}.class_weights={rule}: {told} (from {frames} training frames)")
        unseen = [name for name, count in zip(names, pixels, strict=True) if count == 0]
        if unseen:
            lines.append(f"  in none of these frames: {', '.join(unseen)}")
    return lines


def _count(
    sets: tuple[TaskSet, ...], task: str
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64], int]:
    """(class names, their pixels, pixels of the frames that show them, frames)."""
    training = [s.train for s in sets if task in s.tasks]
    if not training:
        raise PerceptionError(f"head.{task}.class_weights", f"no data set that trains {task}")
    names = _names(training[0], task)
    pixels, present = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    frames = 0
    for data in training:
        for index in np.unique(np.linspace(0, len(data) - 1, min(SAMPLE, len(data))).astype(int)):
            target = data.target(data.frame(int(index)), task)
            assert isinstance(target, DenseTarget)
            ids = target.array[target.array != IGNORE_INDEX]
            counts = np.bincount(ids.ravel(), minlength=len(names))
            pixels += counts
            present += np.where(counts > 0, counts.sum(), 0)
            frames += 1
    return names, pixels, present, frames


def _names(data: FrameDataset, task: str) -> tuple[str, ...]:
    source = next(s for s in data.sources if s.task.name == task)
    return source.class_names or ("background", task)
