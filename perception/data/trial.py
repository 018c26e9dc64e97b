"""Trying the steps of an augmentation: what comes back must be what networks train on."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.labels import IGNORE_INDEX

if TYPE_CHECKING:
    import albumentations as A

DRAWS = 3  # of every transform: some change a picture only now and then
_CLASSES = (0, 1, IGNORE_INDEX)  # far apart: ids that were averaged would be none of these


def check_steps(steps: Mapping[str, Any], size: tuple[int, int]) -> None:
    """Applies every transform by itself to a picture of noise of this (height, width).

    Raises:
        PerceptionError: one that fails, changes nothing in pictures, or gives back something else
            than 8-bit RGB of the same size with the labels in place.
    """
    for name, step in steps.items():
        for where, transform in _leaves(f"augment.steps.{name}", step):
            problem = _problem(transform, size)
            if problem:
                raise PerceptionError(
                    where,
                    f"{type(transform).__name__}: {problem}",
                    "a transform that keeps 8-bit RGB pictures, their size and their labels",
                    _advice(problem),
                )


def odd_image(image: object, size: tuple[int, int]) -> str:
    """What is wrong with a picture that came back; empty: nothing."""
    if not isinstance(image, np.ndarray):
        return f"a {type(image).__name__} instead of an array"
    if image.dtype != np.uint8:
        return f"{image.dtype} values"
    if image.ndim != 3 or image.shape[2] != 3:
        channels = image.shape[2] if image.ndim == 3 else 1
        return f"{channels} channel{'s' * (channels != 1)}"
    if image.shape[:2] != size:
        height, width = image.shape[:2]
        return f"{width}x{height} pixels instead of {size[1]}x{size[0]}"
    return ""


def odd_mask(mask: object, given: NDArray[Any]) -> str:
    """What is wrong with a label that came back; empty: nothing."""
    if not isinstance(mask, np.ndarray):
        return f"labels as a {type(mask).__name__}"
    if mask.dtype != given.dtype or mask.shape != given.shape:
        return f"labels of {mask.dtype} {mask.shape} instead of {given.dtype} {given.shape}"
    return ""


def _leaves(where: str, step: Any) -> Iterator[tuple[str, A.BasicTransform]]:
    """Single transforms with their place in the settings."""
    import albumentations as A

    if not isinstance(step, A.BaseCompose):
        yield where, step
        return
    for number, transform in enumerate(step.transforms):
        yield from _leaves(f"{where}.transforms.{number}", transform)


def _problem(transform: A.BasicTransform, size: tuple[int, int]) -> str:
    """Why a transform cannot be used; empty: it can."""
    import albumentations as A
    from albumentations.core.type_definitions import Targets

    if Targets.IMAGE not in np.atleast_1d(transform._targets):
        return "nothing happens to pictures"
    moves = not isinstance(transform, A.ImageOnlyTransform)
    noise = np.random.default_rng(0).integers(0, 256, (size[0], size[1], 3), np.uint8)
    mask = np.resize(np.repeat(np.array(_CLASSES, np.uint8), 5), noise.shape[:2])
    box = np.array([[0.0, 0.0, size[1], size[0]]])
    one = copy.deepcopy(transform)
    one.p = 1.0
    params = A.BboxParams("pascal_voc", label_fields=["rows"], clip=True) if moves else None
    labels = {"masks": [mask], "bboxes": box, "rows": [0]} if moves else {}
    for seed in range(DRAWS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compose = A.Compose([one], bbox_params=params, strict=True)
                compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
                made = compose(image=noise.copy(), **labels)
        except Exception as error:  # the library raises several kinds
            return " ".join(f"{type(error).__name__}: {error}".split())[:200]
        if problem := odd_image(made["image"], size):
            return problem
        if moves:
            (moved,) = made["masks"]
            if problem := odd_mask(moved, mask):
                return problem
            if not np.isin(moved, _CLASSES).all():
                return "labels are averaged with their neighbours"
    return ""


def _advice(problem: str) -> str:
    if problem.startswith("float"):
        return "The network normalises pictures itself; leave this step out."
    if "pixels instead of" in problem:
        return "Sizes and scales are those of augment.size and augment.view."
    if problem.startswith("labels are averaged"):
        return "Leave out mask_interpolation."
    return ""
