"""Torch datasets, augmentation, sampling and batches."""
