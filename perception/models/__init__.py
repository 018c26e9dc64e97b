"""Encoders, heads, losses and the multi-task model that joins them."""
