#!/usr/bin/env python3
"""Writes the label, flag and colour files of `annotation/` anew from the label table."""

from __future__ import annotations

from perception.annotation.label_files import label_files
from perception.files import packaged, write_text

if __name__ == "__main__":
    for name, text in label_files().items():
        write_text(packaged("annotation") / name, text)
        print(packaged("annotation") / name)
