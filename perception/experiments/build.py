"""From a configuration to objects: the model and its data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn

from perception.data.build import Declared, TaskSet, build_augment, build_sets, declared
from perception.data.loader import BatchStream
from perception.errors import PerceptionError
from perception.experiments.evaluate import Evaluation, evaluate_set
from perception.experiments.sizes import check_sizes
from perception.inference.model import Model
from perception.labels import LabelScheme
from perception.models.encoders.base import Encoder
from perception.models.heads.base import Head
from perception.models.multitask import MultiTask
from perception.structures import Prediction
from perception.tasks import Kind, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Draw = Callable[[NDArray[np.uint8], Prediction], NDArray[np.uint8]]
USUAL = ("road", "boxes", "semantic")  # heads that conf/config.yaml chooses


@dataclass(frozen=True)
class Experiment:
    """What a run trains, and on what."""

    model: MultiTask
    sets: tuple[TaskSet, ...]
    declared: Declared
    size: tuple[int, int] | None  # every image is resized to this for prediction
    workers: int
    seed: int

    @property
    def schemes(self) -> Mapping[str, LabelScheme]:
        """Label schemes by task."""
        return self.declared.schemes

    @property
    def set_tasks(self) -> list[tuple[str, ...]]:
        """The tasks of each data set."""
        return [s.tasks for s in self.sets]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are trained, each once."""
        return tuple(dict.fromkeys(task for s in self.sets for task in s.tasks))

    @property
    def shared(self) -> list[nn.Parameter]:
        """The encoder's trained parameters: what the tasks share."""
        return [p for p in self.model.encoder.parameters() if p.requires_grad]

    @property
    def images_per_step(self) -> int:
        """Images of one micro-batch of every data set."""
        return sum(s.batch_size for s in self.sets)

    def streams(self, fabric: Fabric) -> list[BatchStream]:
        """The batches of each data set, for this process."""
        return [
            s.stream(
                seed=self.seed,
                workers=self.workers,
                rank=fabric.global_rank,
                processes=fabric.world_size,
            )
            for s in self.sets
        ]

    def evaluate(
        self,
        network: MultiTask | None = None,
        *,
        limit: int | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> Evaluation:
        """Scores `network` (the experiment's own by default) on every validation set."""
        model = Model(network or self.model, schemes=self.schemes, size=self.size)
        return self.evaluate_model(model, limit=limit, tick=tick)

    def evaluate_model(
        self, model: Model, *, limit: int | None = None, tick: Callable[[], None] = lambda: None
    ) -> Evaluation:
        """Scores any model with these tasks on at most `limit` frames of every validation set."""
        results = []
        for task_set in self.sets:
            if task_set.val is None:
                continue
            count = min(len(task_set.val), limit or len(task_set.val))
            frames = (task_set.val.labelled(i) for i in range(count))
            results.append(
                evaluate_set(
                    model,
                    task_set.name,
                    frames,
                    [source.task for source in task_set.val.sources],
                    box_classes=self.declared.boxes,
                    tick=tick,
                )
            )
        return Evaluation(tuple(results))

    def overlays(self, network: MultiTask, count: int, draw: Draw) -> dict[str, NDArray[np.uint8]]:
        """The first few validation frames of each set with what `network` says, by key."""
        model = Model(network, schemes=self.schemes, size=self.size)
        pictures = {}
        for task_set in self.sets:
            for i in range(min(count, len(task_set.val or ()))):
                assert task_set.val is not None
                image = task_set.val.frame(i).image
                key = f"{task_set.name}/{task_set.val.frames[i].key}"
                pictures[key] = draw(image.read(), model.predict(image, key=key))
        return pictures

    @property
    def validation_frames(self) -> int:
        """Frames of all validation sets together."""
        return sum(len(s.val) for s in self.sets if s.val is not None)


def build(config: DictConfig, *, trained: bool = False) -> Experiment:
    """Everything that `config` describes.

    trained: this is a stored run; whether it was trained at the scale of prediction is settled.

    Raises:
        PerceptionError: a data set, weights file or setting that is not right.
    """
    known = declared(_plain(config.data))
    sets = build_sets(_plain(config.data), build_augment(_plain(config.augment)))
    stored = trained or bool(config.get("resume"))
    if not stored:
        check_sizes(sets, input_size(config))
        for task_set in sets:
            task_set.augment.check()
    model = build_network(config, known, stored=stored)
    tasks = tuple(dict.fromkeys(t for s in sets for t in s.tasks))
    for task in tasks:
        if task not in model.heads:
            raise PerceptionError(
                f"head.{task}",
                "no head",
                f"one, because a data set trains {task}",
                f"Choose head/{task}=..., or leave {task} out of data.sets.*.tasks.",
            )
    for task, head in model.heads.items():
        head.requires_grad_(task in tasks)  # DDP waits for the gradients of all that is trained
    return Experiment(
        model, sets, known, input_size(config), int(config.trainer.workers), int(config.seed)
    )


def build_model(config: DictConfig) -> Model:
    """The model of a run, with random weights and without touching data on disk."""
    known = declared(_plain(config.data))
    config = config.copy()
    config.encoder.weights = None
    network = build_network(config, known, stored=True)
    return Model(network, schemes=known.schemes, size=input_size(config))


def build_network(config: DictConfig, known: Declared, *, stored: bool = False) -> MultiTask:
    """Encoder and the heads that data sets have a task for; class lists come from the labels.

    A head without a task would predict from random weights: it is left out where it is one that
    conf/config.yaml chooses, or belongs to a stored run; any other is a mistake.

    Raises:
        PerceptionError: a head without a task, or settings that are not right.
    """
    encoder = create(config.encoder, "encoder")
    heads, left_out = [], []
    for task, settings in config.head.items():
        if not settings:
            continue
        if task not in known.tasks:
            if stored or task in USUAL:
                left_out.append(str(task))
                continue
            raise PerceptionError(
                f"head.{task}",
                "a head without a task",
                f"the name of a task in data.sets.*.tasks: {', '.join(known.tasks)}",
            )
        heads.append(_head(settings, known.tasks[str(task)], known, encoder))
    if not heads:
        raise PerceptionError("head", "no head", "at least one", "Choose e.g. head/road=fcn8s.")
    return MultiTask(encoder, heads, left_out=left_out)


def _head(settings: DictConfig, task: Task, known: Declared, encoder: Encoder) -> Head:
    """The head of a task; its kind and its unit have to be those of the labels."""
    where, kind = f"head.{task.name}", _kind_of(settings, f"head.{task.name}")
    if kind is not task.kind:
        raise PerceptionError(
            where, f"a head of the kind {kind}", f"the kind of its labels, {task.kind}"
        )
    names = known.class_names(task.name)
    head: Head = create(
        settings,
        where,
        task=task.name,
        channels=encoder.channels,
        strides=encoder.strides,
        **({"classes": list(names)} if names else {}),
    )
    if task.unit and head.unit and head.unit != task.unit:
        raise PerceptionError(
            where, f"values in {head.unit}", f"the unit of its labels, {task.unit}"
        )
    return head


def _kind_of(settings: DictConfig, where: str) -> Kind:
    """The kind of the head class that `_target_` names."""
    from hydra.utils import get_class

    try:
        kind = get_class(str(settings.get("_target_"))).kind  # type: ignore[attr-defined]
    except (ImportError, AttributeError, ValueError) as error:
        raise PerceptionError(
            f"{where}._target_", str(settings.get("_target_")), "a head, e.g. of conf/head"
        ) from error
    return Kind(kind)


def create(settings: Any, where: str, **extra: Any) -> Any:
    """What the `_target_` of `settings` makes of them and of `extra`.

    Raises:
        PerceptionError: what the target itself says, or an argument that it does not take.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(settings, **extra)
    except InstantiationException as error:  # Hydra wraps whatever the target raised
        cause = error.__cause__
        if isinstance(cause, PerceptionError):
            raise cause from error
        if not isinstance(cause, (ImportError, TypeError, ValueError)):
            raise
        raise PerceptionError(
            where,
            " ".join(str(cause).split()),
            "settings that it takes",
            "perception train --cfg prints those of the chosen group.",
        ) from error


def input_size(config: DictConfig) -> tuple[int, int] | None:
    """The size that images are resized to for prediction; None: their own."""
    size = config.get("input_size")
    return None if size is None else (int(size[0]), int(size[1]))


def _plain(config: DictConfig) -> dict[str, Any]:
    value: Any = OmegaConf.to_container(config, resolve=True)
    plain: dict[str, Any] = value
    return plain
