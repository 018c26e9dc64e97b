"""From a configuration to a run that is ready for its next step: new, or resumed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from torch import nn

from perception.data.contents import training_contents
from perception.errors import PerceptionError, UsageError
from perception.experiments.build import build, create
from perception.experiments.config import check_numbers, merge_overrides, read_config
from perception.experiments.initialize import initialize
from perception.experiments.overrides import parse_overrides
from perception.experiments.trust import split_trust
from perception.files import write_json, write_text
from perception.models.multitask import in_layout
from perception.training.balance import Balance, takes_tasks
from perception.training.ema import EMA
from perception.training.folder import Claim, claim_new, lock
from perception.training.logs import SilentLogger
from perception.training.optim import parameter_groups
from perception.training.pace import fit_steps
from perception.training.precision import Precision, choose_precision, device_of
from perception.training.settle import settle
from perception.training.state import Run, restore, save
from perception.training.step import JointLoss

STRATEGIES = ("auto", "ddp")
PLACES = ("resume", "run_dir", "overwrite")  # keys that say where, not what
_WEIGHTS = ("initialize", "encoder.weights")  # a resumed run has its own


def start(config: DictConfig) -> Run:
    """Builds a run, new or resumed, ready for its next step.

    Raises:
        PerceptionError: bad settings or data, a folder that holds a run or is in use.
    """
    check_numbers(config)
    config = config.copy()
    trainer = config.trainer
    if trainer.threads:
        torch.set_num_threads(int(trainer.threads))
    if trainer.deterministic:
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    precision = choose_precision(str(trainer.precision), device_of(str(trainer.accelerator)))
    trainer.precision = precision.setting  # a resumed run goes on in the same one
    fabric = _fabric(trainer)
    fabric.launch()
    claim = _claim(config, fabric)
    try:
        if claim:
            _tell_precision(precision)
        lines = [] if config.resume else settle(config)
        if lines and claim:
            print("\n".join(lines))
        run = _assemble(config, fabric, claim)
        if config.resume:
            restore(run)
            _check_finished(run)
        fit_steps(run)
        contents = _told_contents(run)
        _check_monitor(run)
        if fabric.is_global_zero:
            _open_folder(run)
            if contents:
                write_json(run.folder / "data.json", contents)
    except BaseException:
        if claim:
            claim.release()
        raise
    return run


def resume_config(folder: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The stored configuration of a run that goes on in its own folder, with values replaced.

    Raises:
        UsageError: an override that a resumed run cannot follow.
    """
    if folder.is_file():  # RUN/last.pt
        folder = folder.parent
    trust, overrides = split_trust(overrides)
    config = read_config(folder, trust=trust)
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if key == "run_dir" and Path(str(override.value())).resolve() != folder.resolve():
            raise UsageError(
                f"resume={folder}",
                f"run_dir={override.value()}",
                "the run's own folder",
                f"A new run from its weights: initialize={folder} run_dir={override.value()}.",
            )
        if key == "trainer.minutes" and override.value() is not None:
            raise UsageError(
                f"resume={folder}",
                override.input_line,
                "steps=..., a run's length is settled when it begins",
            )
        if key.startswith(_WEIGHTS) and override.value() is not None:
            raise UsageError(
                f"resume={folder}",
                override.input_line,
                "no weights from elsewhere, a resumed run has its own",
                "Leave out resume= for a new run.",
            )
    config = merge_overrides(config, overrides)
    config.resume, config.run_dir = str(folder), str(folder)
    return config


def summary(run: Run) -> str:
    """What the run is about to do: its folder, network, data sets and steps."""
    parameters = sum(p.numel() for p in run.inner.model.parameters())
    trained = sum(p.numel() for p in run.inner.model.parameters() if p.requires_grad)
    lines = [
        f"run: {run.folder}, steps {run.step + 1:,} to {int(run.config.steps):,}",
        f"network: {parameters:,} parameters, {trained:,} of them trained",
    ]
    for each in run.experiment.sets:
        val = f"{len(each.val):,} to validate" if each.val else "none to validate"
        lines.append(
            f"data {each.name}: {len(each.train):,} frames to train {', '.join(each.tasks)}, "
            f"{val}; {each.batch_size} per step"
        )
    return "\n".join(lines)


# ---------------------------------------------------------------------------- building


def _assemble(config: DictConfig, fabric: Fabric, claim: Claim | None) -> Run:
    """Everything that `config` describes, with the weights it starts from."""
    torch.manual_seed(int(config.seed))
    built = config.copy()
    if config.resume:
        built.encoder.weights = None  # the checkpoint has them
    experiment = build(built)
    if not config.resume:
        initialize(experiment.model, config.initialize)
    in_layout(experiment.model, channels_last=bool(config.trainer.channels_last))
    inner = JointLoss(experiment.model, _balance(config, experiment.tasks))
    optimizer = _optimizer(inner, config)
    ema = EMA(experiment.model, float(config.trainer.ema)) if config.trainer.ema else None
    if config.trainer.compile:
        experiment.model.compile()
    joint, wrapped = fabric.setup(inner, optimizer)
    if ema:
        ema.model.to(fabric.device)
    return Run(
        fabric,
        claim.folder if claim else Path(config.run_dir),
        config,
        experiment,
        joint,
        inner,
        wrapped,
        create(config.schedule, "schedule"),
        ema,
        create(config.logger, "logger") if fabric.is_global_zero else SilentLogger(),
        claim,
    )


def _fabric(trainer: DictConfig) -> Fabric:
    """Lightning Fabric on the chosen devices."""
    if trainer.strategy not in STRATEGIES:
        raise PerceptionError(
            "trainer.strategy",
            str(trainer.strategy),
            " or ".join(STRATEGIES),
            "Every process holds the whole network.",
        )
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
    extra = {"tasks": list(tasks)} if takes_tasks(str(settings["_target_"])) else {}
    result: Balance = create(settings, "balance", **extra)
    return result


def _optimizer(joint: nn.Module, config: DictConfig) -> torch.optim.Optimizer:
    """The configured optimiser over the parameter groups."""
    settings = dict(config.optimizer)
    groups = parameter_groups(
        joint,
        lr=float(settings["lr"]),
        weight_decay=float(settings["weight_decay"]),
        encoder_lr_factor=float(settings.pop("encoder_lr_factor", 1.0)),
        offset_lr_factor=float(settings.pop("offset_lr_factor", 1.0)),
    )
    names = [group.pop("name") for group in groups]
    optimizer = create(settings, "optimizer", params=groups, _convert_="all")
    for group, name in zip(optimizer.param_groups, names, strict=True):
        group["name"], group["initial_lr"] = name, group["lr"]
    result: torch.optim.Optimizer = optimizer
    return result


# ---------------------------------------------------------------------------- the folder


def _claim(config: DictConfig, fabric: Fabric) -> Claim | None:
    """The first process takes the folder; all of them fail where it cannot."""
    claim: Claim | None = None
    answer: str | PerceptionError | None = None
    if fabric.is_global_zero:
        try:
            claim = _take(config)
            answer = str(claim.folder)
        except PerceptionError as error:
            answer = error
    answer = fabric.broadcast(answer)
    if isinstance(answer, PerceptionError):
        raise answer
    config.run_dir = answer
    return claim


def _take(config: DictConfig) -> Claim:
    folder = Path(config.run_dir)
    if config.resume:
        if Path(config.resume).resolve() != folder.resolve():
            raise PerceptionError(
                "run_dir", str(folder), f"that of resume={config.resume}", "A run keeps its folder."
            )
        return lock(folder)
    default = OmegaConf.is_interpolation(config, "run_dir")
    return claim_new(
        folder, default_name=default, overwrite=bool(config.get("overwrite", default_value=False))
    )


def _open_folder(run: Run) -> None:
    """Writes the configuration, and for a new run the state to begin again from."""
    assert run.claim
    if not run.config.resume:
        run.claim.clear()
    stored = run.config.copy()
    OmegaConf.set_struct(stored, False)
    stored.pop("overwrite", None)
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(stored, resolve=True))
    if run.saved < 0:
        save(run)
    values: Any = OmegaConf.to_container(stored, resolve=True)
    run.logger.start(run.folder, values, run.step)


def _check_finished(run: Run) -> None:
    """A finished run that is resumed with other settings would not follow them."""
    total = int(run.config.steps)
    if run.step < total or not run.fabric.is_global_zero:
        return
    changed = _changes(read_config(run.folder, trust=True), run.config)  # only compared
    if not changed:
        print(f"{run.folder}: finished, step {run.step:,} of {total:,}; nothing is left to train")
        return
    raise PerceptionError(
        run.folder,
        f"a finished run (step {run.step:,} of {total:,}) and other settings ({changed[0]})",
        f"steps above {run.step:,}",
        f"Set steps= to train on, or score it with other settings: perception evaluate run="
        f"{run.folder} ... out=FOLDER.",
    )


def _changes(stored: DictConfig, current: DictConfig) -> list[str]:
    """Keys whose values differ, places aside."""
    old, new = (_flat(OmegaConf.to_container(c, resolve=True)) for c in (stored, current))
    keys = dict.fromkeys([*new, *old])
    return [k for k in keys if k.split(".")[0] not in PLACES and old.get(k, ...) != new.get(k, ...)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): value}
    return {
        k: v for name, part in value.items() for k, v in _flat(part, f"{prefix}{name}.").items()
    }


def _check_monitor(run: Run) -> None:
    """`trainer.monitor` has to name a metric; one validation frame says which there are.

    Raises:
        PerceptionError: it names none of this run's.
    """
    monitor = run.config.trainer.monitor
    if not monitor or not run.fabric.is_global_zero or run.step >= int(run.config.steps):
        return
    metrics = run.experiment.evaluate(run.evaluated, limit=1).metrics()
    if monitor not in metrics:
        raise PerceptionError(
            "trainer.monitor",
            monitor,
            f"one of {', '.join(metrics)}" if metrics else "a validation set",
            "Name a metric of this run.",
        )


def _told_contents(run: Run) -> dict[str, Any]:
    """Prints what the data sets hold; as plain values. All processes fail where nothing is there.

    A finished run is told nothing.
    """
    answer: dict[str, Any] | PerceptionError = {}
    if run.fabric.is_global_zero and run.step < int(run.config.steps):
        try:
            print(summary(run))
            contents = training_contents(run.experiment.sets)
            print(*contents.lines(), sep="\n")
            for line in contents.warnings():
                print(f"warning: {line}")
            answer = contents.values()
        except PerceptionError as error:
            answer = error
    answer = run.fabric.broadcast(answer)
    if isinstance(answer, PerceptionError):
        raise answer
    return answer


def _tell_precision(precision: Precision) -> None:
    """A line on what is computed in; a warning where that is slow."""
    if precision.slow:
        print(
            f"perception: trainer.precision={precision.setting}: {precision.why}; "
            "trainer.precision=auto chooses what is fast here",
            file=sys.stderr,
        )
    else:
        print(f"precision: {precision.setting} ({precision.why})")
