"""Experiments: configuration, building, checkpoints, loading, evaluation."""
