"""The training loop: balance, step, schedule, checkpoints."""
