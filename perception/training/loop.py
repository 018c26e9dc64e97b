"""The training loop: read the configuration, build, step, look, save, report.

Everything random in step t is a pure function of (seed, t): batches come from a stateless stream
and dropout is seeded per step. A resumed run therefore needs weights, moments, averages and the
number of steps, and nothing else, to give bit-equal results.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from perception.data.loader import BatchStream
from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.build import Draw, Experiment, build, create
from perception.experiments.config import check_numbers, read_config
from perception.experiments.evaluate import Evaluation
from perception.files import atomic_open, write_text
from perception.models.multitask import MultiTask, in_layout
from perception.models.weights import read_weights
from perception.training.balance import Balance
from perception.training.ema import EMA
from perception.training.logs import Logger, SilentLogger
from perception.training.optim import Plateau, Schedule, parameter_groups, set_learning_rate
from perception.training.progress import Progress
from perception.training.step import JointLoss, Micro, check_finite


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has saved its state."""


@dataclass
class Run:
    """All that changes while a run goes on."""

    fabric: Fabric
    folder: Path
    config: DictConfig
    experiment: Experiment
    joint: Any  # JointLoss, wrapped by Fabric
    inner: JointLoss  # the same, unwrapped
    optimizer: Any  # wrapped by Fabric
    schedule: Schedule
    ema: EMA | None
    logger: Logger
    step: int = 0  # optimiser steps done
    best: dict[str, Any] = field(default_factory=dict)  # metric, value, step

    @property
    def evaluated(self) -> MultiTask:
        """The weights that are evaluated: the average where there is one."""
        return self.ema.model if self.ema else self.inner.model


def train(config: DictConfig, *, draw: Draw | None = None) -> Path | None:
    """Trains what `config` describes.

    Args:
        config: the composed configuration.
        draw: makes an overlay from an image and its prediction, for loggers that take pictures.

    Returns:
        The run's folder; None in a process that helps the first one.

    Raises:
        PerceptionError: bad data or settings, a loss that is no number, a full disk.
        Interrupted: Ctrl-C or SIGTERM, after the state has been saved.
    """
    run = start(config)
    total = int(config.steps)
    shown, images = run.fabric.is_global_zero, run.experiment.images_per_step
    with _stop_signals() as stop, Progress(run.step, total, shown, images) as progress:
        streams = _streams(run)
        try:
            while run.step < total:
                report = one_step(run, [next(s) for s in streams])
                run.step += 1
                progress.update(run.step, report)
                if run.step % config.trainer.log_every == 0 or run.step == total:
                    run.logger.numbers(run.step, {**report, **progress.rate()}, kind="train")
                every = config.trainer.evaluate_every
                if every and (run.step % every == 0 or run.step == total):
                    with progress.paused("evaluating"):
                        look(run, draw)
                due = run.step % config.trainer.checkpoint_every == 0 or run.step == total
                if due or stop():
                    save(run)
                if stop():
                    raise Interrupted(str(run.folder))
        finally:
            for stream in streams:
                stream.close()
            run.logger.finish()
    if not run.fabric.is_global_zero:
        return None
    export_weights(run.evaluated, run.folder / "model.safetensors")
    return run.folder


def start(config: DictConfig) -> Run:
    """Builds a run, new or resumed, ready for its next step."""
    check_numbers(config)
    trainer = config.trainer
    if trainer.threads:
        torch.set_num_threads(int(trainer.threads))
    if trainer.deterministic:
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    fabric = _fabric(trainer)
    fabric.launch()
    torch.manual_seed(int(config.seed))
    experiment = build(config)
    if config.initialize:
        initialize(experiment.model, Path(config.initialize))
    in_layout(experiment.model, channels_last=bool(trainer.channels_last))
    inner = JointLoss(experiment.model, _balance(config, experiment.tasks))
    optimizer = _optimizer(inner, config)
    ema = EMA(experiment.model, float(trainer.ema)) if trainer.ema else None
    if trainer.compile:
        experiment.model.compile()
    joint, wrapped = fabric.setup(inner, optimizer)
    if ema:
        ema.model.to(fabric.device)
    folder = Path(config.run_dir)
    run = Run(
        fabric,
        folder,
        config,
        experiment,
        joint,
        inner,
        wrapped,
        create(config.schedule, "schedule"),
        ema,
        create(config.logger, "logger") if fabric.is_global_zero else SilentLogger(),
    )
    if config.resume:
        restore(run)
    if fabric.is_global_zero:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        values: Any = OmegaConf.to_container(config, resolve=True)
        run.logger.start(folder, values, run.step)
    return run


def one_step(run: Run, batches: Sequence[Sequence[Any]]) -> dict[str, float]:
    """One optimiser step on `accumulate` micro-batches per data set; what is worth a log row."""
    config, fabric = run.config, run.fabric
    torch.manual_seed(_step_seed(int(config.seed), run.step, fabric.global_rank))
    run.joint.train()
    factor = run.schedule.factor(run.step, int(config.steps))
    set_learning_rate(run.optimizer, factor)
    run.optimizer.zero_grad(set_to_none=True)
    values: dict[str, float] = {}
    parts = list(zip(*batches, strict=True))  # one list of micro-batches per accumulation
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        sync = nullcontext() if last else fabric.no_backward_sync(run.joint)
        with sync:
            moved = [batch.to(fabric.device, non_blocking=True) for batch in part]
            losses, terms = run.joint(Micro(moved, run.experiment.set_tasks, _reduce_count(fabric)))
            check_finite(losses, part, run.step)
            share = 1.0 / len(parts)
            total = run.inner.balance.backward(
                losses, run.experiment.shared, _scaled(fabric, share)
            )
        values["loss"] = values.get("loss", 0.0) + share * float(total)
        for name, value in terms.items():
            values[name] = values.get(name, 0.0) + share * float(value)
    if config.trainer.clip_norm:
        fabric.clip_gradients(run.joint, run.optimizer, max_norm=float(config.trainer.clip_norm))
    run.optimizer.step()
    if run.ema:
        run.ema.update(run.inner.model, run.step)
    if isinstance(run.schedule, Plateau):
        run.schedule.observe(values["loss"])
    return {"loss": values.pop("loss"), **values, "lr": run.optimizer.param_groups[0]["lr"]}


def look(run: Run, draw: Draw | None = None) -> Evaluation | None:
    """Evaluates on the validation sets, logs, and keeps the best weights."""
    if not run.fabric.is_global_zero:
        return None
    frames = run.config.trainer.evaluate_frames
    evaluation = run.experiment.evaluate(run.evaluated, limit=frames)
    metrics = evaluation.metrics()
    run.logger.numbers(run.step, metrics, kind="evaluation")
    if draw and run.logger.overlays:
        pictures = run.experiment.overlays(run.evaluated, run.logger.overlays, draw)
        run.logger.pictures(run.step, pictures)
    monitor = run.config.trainer.monitor or next(iter(metrics), None)
    if monitor and monitor not in metrics:
        raise PerceptionError(
            "trainer.monitor", monitor, f"one of {', '.join(metrics)}", "Name a metric of this run."
        )
    if monitor and not metrics[monitor] <= run.best.get("value", float("-inf")):
        run.best = {"metric": monitor, "value": metrics[monitor], "step": run.step}
        checkpoint.save(run.folder / "best.pt", _weights(run))
    return evaluation


# ---------------------------------------------------------------------------- state


def save(run: Run) -> None:
    """Writes `last.pt`: all that `restore` needs."""
    if not run.fabric.is_global_zero:
        return
    state = {
        **_weights(run),
        "weights": run.inner.model.state_dict(),
        "balance": run.inner.balance.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "ema": run.ema.model.state_dict() if run.ema else None,
        "schedule": run.schedule.state_dict() if isinstance(run.schedule, Plateau) else {},
        "precision": run.fabric.strategy.precision.state_dict(),
        "best": run.best,
    }
    checkpoint.save(run.folder / "last.pt", state)


def restore(run: Run) -> None:
    """Puts a run back to its last checkpoint; a run without one starts from the beginning."""
    path = run.folder / "last.pt"
    if not path.is_file():
        return
    state = checkpoint.load(path)
    checkpoint.load_weights(run.inner.model, state["weights"], path)
    run.inner.balance.load_state_dict(state["balance"])
    run.optimizer.load_state_dict(state["optimizer"])
    if run.ema:
        checkpoint.load_weights(run.ema.model, state["ema"] or state["weights"], path)
    if isinstance(run.schedule, Plateau):
        run.schedule.load_state_dict(state["schedule"])
    run.fabric.strategy.precision.load_state_dict(state["precision"])
    run.step, run.best = int(state["step"]), dict(state["best"])


def initialize(model: nn.Module, path: Path) -> None:
    """Starts from the evaluated weights of another run (.pt) or an exported file (.safetensors)."""
    if path.suffix == ".safetensors":
        weights: Mapping[str, Tensor] = read_weights(path)
    else:
        weights = checkpoint.load(path)["evaluated"]
    checkpoint.load_weights(model, weights, path)


def export_weights(model: nn.Module, path: Path) -> None:
    """Writes the weights as safetensors, for `initialize=` and for other programs."""
    from safetensors.torch import save

    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    with atomic_open(path) as file:
        file.write(save(weights))


def resume_config(folder: Path) -> DictConfig:
    """The stored configuration of a run that goes on in its own folder."""
    config = read_config(folder)
    config.resume, config.run_dir = str(folder), str(folder)
    return config


# ---------------------------------------------------------------------------- helpers


def _weights(run: Run) -> dict[str, Any]:
    """What evaluation and export read."""
    return {"step": run.step, "evaluated": run.evaluated.state_dict()}


def _fabric(trainer: DictConfig) -> Fabric:
    """Lightning Fabric on the chosen devices."""
    try:
        return Fabric(
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            num_nodes=trainer.num_nodes,
            strategy=trainer.strategy,
            precision=trainer.precision,
        )
    except Exception as error:  # Fabric's checks raise several kinds
        raise PerceptionError(
            "trainer",
            " ".join(str(error).split()).rstrip("."),
            "what this machine has",
            "Correct trainer.accelerator, devices, strategy or precision.",
        ) from error


def _balance(config: DictConfig, tasks: Sequence[str]) -> Balance:
    """The configured balance; one with a weight per task is told the tasks."""
    settings: Any = OmegaConf.to_container(config.balance, resolve=True)
    if settings["_target_"].endswith(".Uncertainty"):
        settings["tasks"] = list(tasks)
    return create(settings, "balance")


def _optimizer(joint: nn.Module, config: DictConfig) -> torch.optim.Optimizer:
    """The configured optimiser over the parameter groups."""
    settings = dict(config.optimizer)
    groups = parameter_groups(
        joint,
        lr=float(settings["lr"]),
        weight_decay=float(settings["weight_decay"]),
        encoder_lr_factor=float(settings.pop("encoder_lr_factor", 1.0)),
    )
    names = [group.pop("name") for group in groups]
    optimizer = create(settings, "optimizer", params=groups, _convert_="all")
    for group, name in zip(optimizer.param_groups, names, strict=True):
        group["name"], group["initial_lr"] = name, group["lr"]
    return optimizer


def _streams(run: Run) -> list[_Grouped]:
    """Per data set: an iterator over the `accumulate` micro-batches of each coming step."""
    accumulate = int(run.config.trainer.accumulate)
    return [_Grouped(s, run.step, accumulate) for s in run.experiment.streams(run.fabric)]


class _Grouped:
    """Micro-batches of a stream in groups of `size`, from optimiser step `start` on."""

    def __init__(self, stream: BatchStream, start: int, size: int) -> None:
        self.batches: Any = stream.iterate(start * size)
        self.size = size

    def __iter__(self) -> _Grouped:
        return self

    def __next__(self) -> list[Any]:
        return [next(self.batches) for _ in range(self.size)]

    def close(self) -> None:
        self.batches.close()


def _step_seed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step) * 1_009 + rank


def _scaled(fabric: Fabric, share: float) -> Callable[[Tensor], None]:
    """`fabric.backward` of a share of the total: one of several accumulated micro-batches."""
    return lambda total: fabric.backward(total * share)


def _reduce_count(fabric: Fabric) -> Any:
    """Mean over processes, so that sums over a process's pixels divide by the global mean."""
    if fabric.world_size == 1:
        return lambda count: count
    return lambda count: fabric.all_reduce(count, reduce_op="mean")


@contextmanager
def _stop_signals() -> Iterator[Any]:
    """Turns the first Ctrl-C or SIGTERM into a wish that the loop asks for; a second one acts."""
    asked: list[float] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(time.monotonic())
        signal.signal(number, signal.default_int_handler)

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
