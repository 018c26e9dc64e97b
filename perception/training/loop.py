"""The training loop: step, validate, save."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.build import Draw
from perception.experiments.evaluate import Evaluation
from perception.training.profile import profiled
from perception.training.progress import Progress
from perception.training.start import resume_config, start
from perception.training.state import Run, export_weights, restore, save, weights_of
from perception.training.stopping import Interrupted, exhausted, stop_signals
from perception.training.update import Grouped, grouped_streams, one_step

__all__ = ["Interrupted", "Run", "one_step", "restore", "resume_config", "save", "start", "train"]


def train(config: DictConfig, *, draw: Draw | None = None) -> Path | None:
    """Trains what `config` describes.

    Args:
        config: the composed configuration.
        draw: makes an overlay from an image and its prediction, for loggers that take pictures.

    Returns:
        The run's folder; None in a process that helps the first one.

    Raises:
        PerceptionError: bad data or settings, a loss that is no number, a full disk; what was
            trained until then has been saved.
        Interrupted: Ctrl-C or SIGTERM, after the state has been saved.
    """
    run = start(config)
    try:
        with stop_signals() as stop:
            _train(run, draw, stop)
        if not run.fabric.is_global_zero:
            return None
        export_weights(run.evaluated, run.folder / "model.safetensors")
        return run.folder
    finally:
        if run.claim:
            run.claim.release()


def _train(run: Run, draw: Draw | None, stop: Callable[[], bool]) -> None:
    """All steps that are left; on any error what was trained is saved before it is passed on."""
    shown, images = run.fabric.is_global_zero, run.experiment.images_per_step
    with (
        Progress(run.step, int(run.config.steps), shown, images) as progress,
        profiled(run) as profile_step,
    ):
        streams = grouped_streams(run)
        try:
            while run.step < int(run.config.steps) and not _exhausted(run):
                _next(run, streams, progress, draw, stop)
                profile_step()
        except Exception as error:  # Interrupted is none
            _leave(run, error, stop())
        finally:
            for stream in streams:
                stream.close()
            run.logger.finish()


def _next(
    run: Run,
    streams: Sequence[Grouped],
    progress: Progress,
    draw: Draw | None,
    stop: Callable[[], bool],
) -> None:
    """One step, and the logging, validation and checkpoint that are due after it."""
    trainer, total = run.config.trainer, int(run.config.steps)
    report = one_step(run, [next(s) for s in streams], stop)
    run.step += 1
    run.updating = False
    run.buffers = []
    progress.update(run.step, report)
    if run.step % trainer.log_every == 0 or run.step == total:
        run.logger.numbers(run.step, {**report, **progress.rate()}, kind="train")
    every = trainer.evaluate_every
    if every and (run.step % every == 0 or run.step == total):
        with progress.paused("evaluating"):
            evaluation = validate(run, draw)
        progress.scores(run.step, evaluation)
        _share_best(run)
    wanted = run.stop or (run.fabric.world_size == 1 and stop())
    due = run.step % trainer.checkpoint_every == 0 or run.step == total or _exhausted(run)
    if due or wanted:
        save(run)
    if wanted:
        run.fabric.barrier()  # no process ends while the first one saves
        raise Interrupted(str(run.folder))


def validate(run: Run, draw: Draw | None = None) -> Evaluation | None:
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
    keep_best(run, metrics)
    return evaluation


def keep_best(run: Run, metrics: Mapping[str, float]) -> None:
    """Writes `best.pt` where the monitored metric is better than ever; NaN never is."""
    monitor = run.config.trainer.monitor or next(iter(metrics), None)
    if monitor is None:
        return
    value = metrics.get(monitor, math.nan)
    if value > run.best.get("value", -math.inf):
        run.best = {"metric": monitor, "value": value, "step": run.step}
        checkpoint.save(run.folder / "best.pt", weights_of(run))


# ---------------------------------------------------------------------------- leaving early


def _leave(run: Run, error: Exception, stopping: bool) -> None:
    """Saves what was trained before `error`, then passes it on.

    Raises:
        Interrupted: loaders that were stopped together with this process are no error.
        PerceptionError: the error, with where to go on.
    """
    if run.step == 0 and run.claim and not run.config.resume:
        run.claim.clear()  # nothing was trained: the folder is free for the next try
        raise error
    if not run.updating and run.step > run.saved:
        run.undo()
        with suppress(PerceptionError):  # the disk may be what is wrong
            save(run)
    if stopping and run.saved == run.step:
        raise Interrupted(str(run.folder)) from error
    if isinstance(error, PerceptionError):
        kept = f"What was trained is saved: perception train resume={run.folder}"
        do = f"{error.do} {kept if run.saved == run.step else ''}".strip()
        raise type(error)(error.where, error.found, error.expected, do) from error
    if run.fabric.world_size > 1 and isinstance(error, RuntimeError):
        raise PerceptionError(
            f"step {run.step}",
            f"another process of the run failed ({' '.join(str(error).split())[:120]})",
            "",
            f"Go on with resume={run.folder}.",
        ) from error
    raise error


def _exhausted(run: Run) -> bool:
    trainer = run.config.trainer
    patience = trainer.get("patience", default_value=None)
    return exhausted(run.best, run.step, trainer.evaluate_every, patience)


def _share_best(run: Run) -> None:
    """What the first process found best; all of them stop together."""
    if run.fabric.world_size > 1:
        run.best = run.fabric.broadcast(run.best)
