"""Balancing: how the task losses of one step become one gradient of the shared encoder."""

from perception.training.balance.base import Balance, Losses, takes_tasks, task_gradients
from perception.training.balance.directions import PCGrad, TorchJD
from perception.training.balance.norms import EqualGradients, GradNorm
from perception.training.balance.weights import DWA, FAMO, Fixed, Uncertainty

__all__ = [
    "DWA",
    "FAMO",
    "Balance",
    "EqualGradients",
    "Fixed",
    "GradNorm",
    "Losses",
    "PCGrad",
    "TorchJD",
    "Uncertainty",
    "takes_tasks",
    "task_gradients",
]
