"""Readers and writers of the datasets' own files: bytes on disk to `Frame` and back. No torch."""
