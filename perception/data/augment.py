"""Augmentation: one adapter for our view (geometry.py) and albumentations' transforms.

First the view moves image, labels, boxes and calibration together. Then albumentations changes how
it looks (colour, weather, blur, noise). All randomness of a sample comes from its own seed.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from perception.data.batch import DenseTarget, Sample, SampleBoxes, Target
from perception.data.geometry import FILL, STILL, ScaleOf, View, apply_view, draw_view
from perception.data.trial import check_steps, odd_image, odd_mask
from perception.errors import PerceptionError
from perception.labels import IGNORE_INDEX
from perception.lists import values
from perception.tasks import Kind

if TYPE_CHECKING:
    import albumentations as A

OPTIONS = ("size", "view", "steps", "min_visible", "min_size")


class Augment:
    """Turns samples of any size into samples of one size.

    Args:
        size: (height, width) of the result.
        view: what the view may do, a `View` or some of its fields; None: the whole image, still.
        steps: albumentations transforms in order, by a name of your own; each is
            `{_target_: albumentations.RandomGamma, ...}` or a transform. None switches one off.
        min_visible: boxes of which less is left become ignored regions.
        min_size: boxes narrower or lower than this many pixels become ignored regions.

    Raises:
        PerceptionError: an unknown transform or argument.
    """

    def __init__(
        self,
        size: Sequence[int],
        *,
        view: View | Mapping[str, Any] | None = None,
        steps: Mapping[str, Any] | None = None,
        min_visible: float = 0.3,
        min_size: float = 4.0,
    ) -> None:
        given = size, view, steps, min_visible, min_size
        self.options: dict[str, Any] = dict(zip(OPTIONS, given, strict=True))
        self.size = _size(size)
        self.view = view if isinstance(view, View) else _view(view)
        self.min_visible, self.min_size = min_visible, min_size
        self.steps = {name: _transform(name, step) for name, step in (steps or {}).items() if step}
        made = list(self.steps.values())
        self.moves = any(_moves(t) for t in made)
        self.compose = _compose(made, self.moves) if made else None

    def __call__(self, sample: Sample, seed: int, *, size: tuple[int, int] | None = None) -> Sample:
        """The augmented sample; the same for the same sample and seed.

        `size`: (height, width) of this one, instead of that of the constructor.
        """
        rng = np.random.default_rng(seed)
        out = size or self.size
        seen = apply_view(
            draw_view(self.view, rng, sample, out),
            sample,
            out,
            min_visible=self.min_visible,
            min_size=self.min_size,
        )
        if self.compose is None:
            return seen
        # One stream for all transforms: `set_random_seed` would give every one the same numbers,
        # so that transforms of equal probability would always come together.
        child = int(rng.integers(2**32))
        self.compose.set_random_state(np.random.default_rng(child), random.Random(child))
        return self._appearance(seen, self.compose)

    def check(self) -> None:
        """Tries every step on a picture.

        Raises:
            PerceptionError: one gives back something else than 8-bit RGB of the same size.
        """
        check_steps(self.steps, self.size)

    def changed(self, options: Mapping[str, Any]) -> Augment:
        """A copy with other options; those of `view` and `steps` are replaced one by one."""
        check_options(options)
        merged: dict[str, Any] = {**self.options, **options}
        merged["view"] = {**asdict(self.view), **(options.get("view") or {})}
        merged["steps"] = {**(self.options["steps"] or {}), **(options.get("steps") or {})}
        return Augment(**merged)

    def _appearance(self, sample: Sample, compose: A.Compose) -> Sample:
        if not self.moves:
            return replace(sample, image=_applied(compose, sample, {})["image"])
        dense = [(task, t) for task, t in sample.targets.items() if isinstance(t, DenseTarget)]
        boxes = [(task, t) for task, t in sample.targets.items() if isinstance(t, SampleBoxes)]
        masks = [mask for _, target in dense for mask in _as_masks(target)]
        xyxy = np.concatenate([np.zeros((0, 4)), *(t.xyxy for _, t in boxes)])
        labels = {"bboxes": xyxy, "rows": np.arange(len(xyxy))}
        made = _applied(compose, sample, labels | ({"masks": masks} if masks else {}))
        moved = iter(made.get("masks", ()))
        targets: dict[str, Target] = {task: _from_masks(t.kind, moved) for task, t in dense}
        targets |= self._kept(boxes, made)
        return replace(
            sample,
            image=made["image"],
            projection=None,  # no matrix says where pixels went
            targets={task: targets[task] for task in sample.targets},
        )

    def _kept(
        self, boxes: Sequence[tuple[str, SampleBoxes]], made: Mapping[str, Any]
    ) -> dict[str, SampleBoxes]:
        """Boxes that albumentations left, by task; ignored where little is left of them."""
        rows = np.asarray(made["rows"], np.int64).reshape(-1)
        xyxy = np.asarray(made["bboxes"], np.float64).reshape(-1, 4)
        small = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1, initial=np.inf) < self.min_size
        kept, start = {}, 0
        for task, one in boxes:
            own = (rows >= start) & (rows < start + len(one.xyxy))
            chosen = rows[own] - start
            ignore = one.ignore[chosen] | small[own]
            kept[task] = SampleBoxes(xyxy[own], one.label[chosen], ignore)
            start += len(one.xyxy)
        return kept


def _applied(compose: A.Compose, sample: Sample, labels: Mapping[str, Any]) -> dict[str, Any]:
    """What the steps make of one sample; a transform that was sound in its trial may still fail."""
    size = sample.image.shape[0], sample.image.shape[1]
    try:
        made: dict[str, Any] = compose(image=sample.image, **labels)
    except Exception as error:  # the library raises several kinds
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise PerceptionError(f"augment.steps, frame {sample.key}", problem) from error
    problem = odd_image(made["image"], size)
    for given, moved in zip(labels.get("masks", ()), made.get("masks", ()), strict=True):
        problem = problem or odd_mask(moved, given)
    if problem:
        raise PerceptionError(
            f"augment.steps, frame {sample.key}", problem, "8-bit RGB of the same size, with labels"
        )
    return made


def _as_masks(target: DenseTarget) -> list[NDArray[Any]]:
    """What albumentations moves for a target: ids; values, and ids that say where they are known.

    Its fill for uncovered pixels, 255, is an id but might be a value.
    """
    if target.kind is not Kind.VALUES:
        return [target.array]
    known = np.isfinite(target.array)
    return [np.where(known, target.array, 0).astype(np.float32), known.astype(np.uint8)]


def _from_masks(kind: Kind, masks: Iterator[NDArray[Any]]) -> DenseTarget:
    array = next(masks)
    if kind is Kind.VALUES:
        array = np.where(next(masks) == 1, array, np.nan).astype(np.float32)
    return DenseTarget(kind, array)


def check_options(
    options: Mapping[str, Any], *, known: Sequence[str] = OPTIONS, where: str = "augment"
) -> None:
    """Raises a `PerceptionError` for an option that an augmentation does not have."""
    for name in options:
        if name not in known:
            raise PerceptionError(
                f"{where}.{name}", "an unknown option", f"one of {', '.join(known)}"
            )


def _view(values: Mapping[str, Any] | None) -> View:
    if values is None:
        return STILL
    check_options(values, known=[f.name for f in fields(View)], where="augment.view")
    view = replace(View(), **values)
    try:
        low, high = (float(v) for v in view.scale)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not 0 < low <= high:
        raise PerceptionError(
            "augment.view.scale",
            str(values["scale"]),
            "[smallest, largest], both above 0",
            "Correct it, e.g. [0.5, 2.0].",
        )
    if view.scale_of not in get_args(ScaleOf):
        raise PerceptionError(
            "augment.view.scale_of", str(view.scale_of), f"one of {', '.join(get_args(ScaleOf))}"
        )
    return replace(view, scale=(low, high))


def _size(value: Any) -> tuple[int, int]:
    """Height and width, or a `PerceptionError`."""
    numbers = values(value, "augment.size")
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers)
    if len(numbers) != 2 or not whole:
        raise PerceptionError("augment.size", str(value), "[height, width], whole and above 0")
    return numbers[0], numbers[1]


def _compose(made: Sequence[Any], moves: bool) -> A.Compose:
    """The transforms in order; boxes are handed to them only where they move pixels."""
    import albumentations as A

    boxes = A.BboxParams("pascal_voc", label_fields=["rows"], clip=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got processor for bboxes")
        return A.Compose(made, bbox_params=boxes if moves else None, strict=True)


def _transform(name: str, step: Any) -> A.BasicTransform | A.BaseCompose:
    """An albumentations transform; what it only warns about is an error here."""
    import albumentations as A  # a second of start-up that loading a model does not need

    if not isinstance(step, Mapping):
        return step
    arguments = {k: _plain(v) for k, v in step.items() if k not in ("_target_", "transforms")}
    if "transforms" in step:  # OneOf, SomeOf, Sequential
        arguments["transforms"] = [
            _transform(f"{name}.transforms.{i}", t) for i, t in enumerate(step["transforms"])
        ]
    target = str(step.get("_target_", ""))
    kind = getattr(A, target.removeprefix("albumentations."), None)
    if not isinstance(kind, type) or not issubclass(kind, (A.BasicTransform, A.BaseCompose)):
        raise PerceptionError(
            f"augment.steps.{name}._target_", target or "nothing", "albumentations.<a transform>"
        )
    if not issubclass(kind, A.ImageOnlyTransform):
        arguments = _safe_fill(kind) | arguments
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return kind(**arguments)
    except (ValueError, TypeError, UserWarning) as error:
        raise PerceptionError(
            f"augment.steps.{name}", " ".join(str(error).split()), f"arguments of {target}"
        ) from error


def _moves(transform: Any) -> bool:
    """False where a transform changes only colours."""
    import albumentations as A

    if isinstance(transform, A.BaseCompose):
        return any(_moves(t) for t in transform.transforms)
    return not isinstance(transform, A.ImageOnlyTransform)


def _safe_fill(kind: type) -> dict[str, Any]:
    """Uncovered pixels are ignored: the default, 0, is a class."""
    safe = {"fill": FILL, "fill_mask": IGNORE_INDEX}
    schema = getattr(kind, "InitSchema", None)
    known = schema.model_fields if schema else {}
    return {k: v for k, v in safe.items() if k in known}


def _plain(value: Any) -> Any:
    """Lists of a configuration as the tuples that albumentations wants."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(v) for v in value)
    return value
