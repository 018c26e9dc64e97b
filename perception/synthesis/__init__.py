"""Synthetic road scenes: a small renderer of its own world."""
