"""One optimiser step.

Everything random in step t is a pure function of (seed, t): batches come from a stateless stream
and dropout is seeded per step. A resumed run therefore needs weights, moments, averages and the
number of steps, and nothing else, to give bit-equal results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from perception.data.loader import BatchStream
from perception.training.optim import Plateau, set_learning_rate
from perception.training.state import Run
from perception.training.step import Micro, check_finite


def one_step(
    run: Run, batches: Sequence[Sequence[Any]], stop: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """One optimiser step on `accumulate` micro-batches per data set; what is worth a log row.

    The losses and the wish to stop are those of all processes together. Where a loss is no number
    the weights stay as they were.
    """
    config, fabric = run.config, run.fabric
    torch.manual_seed(_step_seed(int(config.seed), run.step, fabric.global_rank))
    run.joint.train()
    run.remember()
    factor = run.schedule.factor(run.step, int(config.steps))
    set_learning_rate(run.optimizer, factor)
    run.optimizer.zero_grad(set_to_none=True)
    values: dict[str, float] = {}
    finite: dict[str, float] = {}  # one per task: what is checked
    parts = list(zip(*batches, strict=True))  # one list of micro-batches per accumulation
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        sync = nullcontext() if last else fabric.no_backward_sync(run.joint)
        with sync:
            moved = [batch.to(fabric.device, non_blocking=True) for batch in part]
            micro = Micro(moved, run.experiment.set_tasks, _reduce_count(fabric), run.step)
            _, terms = run.joint(micro)
            losses = run.inner.losses
            share = 1.0 / len(parts)
            total = run.inner.balance.backward(
                losses, run.experiment.shared, _scaled(fabric, share)
            )
        values["loss"] = values.get("loss", 0.0) + share * float(total)
        for name, value in losses.items():
            finite[name] = finite.get(name, 0.0) + float(value.detach())
        for name, value in terms.items():
            values[name] = values.get(name, 0.0) + share * float(value)
    values, run.stop = _agree(fabric, values, stop())
    check_finite(finite, values["loss"], [batch for part in parts for batch in part], run.step)
    if config.trainer.clip_norm:
        fabric.clip_gradients(run.joint, run.optimizer, max_norm=float(config.trainer.clip_norm))
    run.updating = True
    run.optimizer.step()
    if run.ema:
        run.ema.update(run.inner.model, run.step)
    if isinstance(run.schedule, Plateau):
        run.schedule.observe(values["loss"])
    values |= run.inner.balance.report()
    return {"loss": values.pop("loss"), **values, "lr": run.optimizer.param_groups[0]["lr"]}


def grouped_streams(run: Run) -> list[Grouped]:
    """Per data set: an iterator over the `accumulate` micro-batches of each coming step."""
    accumulate = int(run.config.trainer.accumulate)
    return [Grouped(s, run.step, accumulate) for s in run.experiment.streams(run.fabric)]


class Grouped:
    """Micro-batches of a stream in groups of `size`, from optimiser step `start` on."""

    def __init__(self, stream: BatchStream, start: int, size: int) -> None:
        self.batches: Any = stream.iterate(start * size)
        self.size = size

    def __iter__(self) -> Grouped:
        return self

    def __next__(self) -> list[Any]:
        return [next(self.batches) for _ in range(self.size)]

    def close(self) -> None:
        """Ends the loaders."""
        self.batches.close()


# ---------------------------------------------------------------------------- helpers


def _agree(
    fabric: Fabric, values: Mapping[str, float], stop: bool
) -> tuple[dict[str, float], bool]:
    """Losses and the wish to stop of all processes, by one exchange.

    Each process divides its sums by the mean count, so that the mean over processes is the loss of
    all their images; one that was asked to stop stops all.
    """
    if fabric.world_size == 1:
        return dict(values), stop
    mine = torch.tensor([*values.values(), float(stop)], dtype=torch.float64)
    shared = fabric.all_reduce(mine.to(fabric.device), reduce_op="mean")
    *means, asked = shared.tolist()  # type: ignore[union-attr]
    return dict(zip(values, means, strict=True)), asked > 0


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
