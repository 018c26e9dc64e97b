"""The mean that several processes agree on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ReduceCount = Callable[[Tensor], Tensor]  # count of this process -> mean count per process


def identity(count: Tensor) -> Tensor:
    """`reduce_count` of a single process."""
    return count


def mean(total: Tensor, count: Tensor, reduce_count: ReduceCount = identity) -> Tensor:
    """`total` / `reduce_count(count)`; where nothing counts, `total` (which is then 0)."""
    shared = reduce_count(count.detach().float())
    return total / torch.where(shared > 0, shared, torch.ones_like(shared))
