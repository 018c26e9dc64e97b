#!/usr/bin/env python3
"""Feeds mutated labelme files to `perception convert` in one process.

    python scripts/fuzz_labelme.py --files 20000 --seed 0

Holds: the exit code is 0 or 1, nothing is raised, a file with an error has no output, a converted
one has all of its outputs, no temporary file stays behind. Prints how often each code was seen.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from perception.cli import main as perception
from perception.files import write_image
from perception.formats.labelme import encode_mask

TARGETS = ("kitti_road", "kitti_object", "cityscapes", "labelme")
BATCH = 200  # files of one call
SIZE = (24, 32)
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, -1e308, float("nan"), float("inf"), 10**400, 1_000_001, 0.5,
    "", " ", "\x00", "\ud800", "a" * 5000, "../../etc/passwd", "/dev/zero", "C:\\a.png", ".", "..",
    [], {}, [[]], [[1, 2]], [[1, 2, 3]], [["1", 2]], {"a": {}}, "polygon", "mask", "circle",
    "AAAA", "car group 1", "1",
)  # fmt: skip


def seed_document() -> dict[str, Any]:
    """One file with every shape type."""
    mask = np.random.default_rng(0).random((6, 8)) > 0.4
    drawn = [
        ("road", "polygon", [[1, 12], [30, 11], [31, 23], [0, 23]]),
        ("car", "rectangle", [[4.5, 3.2], [12.1, 9.9]]),
        ("car", "oriented_rectangle", [[15, 5], [20, 3], [22, 8], [17, 10]]),
        ("person", "circle", [[25, 8], [28, 8]]),
        ("lane marking", "line", [[16, 12], [16, 23]]),
        ("fence", "linestrip", [[0, 5], [8, 6], [16, 4]]),
        ("traffic sign", "point", [[28, 3]]),
        ("lane", "mask", [[10, 14], [17, 19]]),
    ]
    shapes: list[dict[str, Any]] = [
        {
            "label": label,
            "points": points,
            "group_id": None,
            "description": "occluded=1",
            "shape_type": kind,
            "flags": {"crowd": False},
            "mask": None,
        }
        for label, kind, points in drawn
    ]
    shapes[-1]["mask"] = encode_mask(mask)
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": "i.png",
        "imageData": None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }


def mutate(document: dict[str, Any], rng: random.Random) -> bytes:
    """The bytes of a file with 1 to 4 things changed, in the value or in the text."""
    value = copy.deepcopy(document)
    for _ in range(rng.randint(1, 4)):
        parent, key = _place(value, rng)
        match rng.randrange(6):
            case 0 | 1 | 2:
                parent[key] = copy.deepcopy(rng.choice(HOSTILE))
            case 3:
                del parent[key]
            case 4 if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
            case 4:
                parent[f"{key}2"] = parent[key]
            case _:
                if isinstance(parent[key], (int, float)) and abs(parent[key]) < 1e6:
                    parent[key] = parent[key] * rng.uniform(-1e3, 1e3)
        if not value:
            break
    data = json.dumps(value, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
    return _mangle(data, rng) if rng.random() < 0.2 else data


def _place(value: dict[str, Any], rng: random.Random) -> tuple[Any, Any]:
    """A random (container, key) somewhere below `value`."""
    parent: Any = value
    key: Any = "shapes" if "shapes" in value and rng.random() < 0.8 else rng.choice(list(value))
    while isinstance(parent[key], (dict, list)) and parent[key] and rng.random() < 0.85:
        parent = parent[key]
        key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
    return parent, key


def _mangle(data: bytes, rng: random.Random) -> bytes:
    """Bytes cut, flipped or doubled."""
    mangled = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        where = rng.randrange(len(mangled) or 1)
        match rng.randrange(4):
            case 0:
                mangled = mangled[:where]
            case 1:
                mangled[where : where + 1] = bytes([rng.randrange(256)])
            case 2:
                mangled[where:where] = rng.choice([b"[", b"{", b'"', b",", b"\\u", b"1e999", b"-"])
            case _:
                mangled[where:where] = mangled[where : where + 20]
    return bytes(mangled)


def run_batch(folder: Path, files: list[bytes], target: str) -> Counter[str]:
    """Converts one batch and checks what it left; returns how often each code was seen."""
    source, out = folder / "src", folder / "out"
    write_image(source / "i.png", np.zeros((*SIZE, 3), np.uint8))
    for number, data in enumerate(files):
        (source / f"{number:05d}.json").write_bytes(data)
    words = ["convert", "labelme", "--to", target, "--workers", "1", str(source), str(out)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = perception(words)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    failed = {entry["file"] for entry in report["errors"]}
    expected = {"report.json"}.union(*(entry["outputs"] for entry in report["converted"]))
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    if code != (1 if failed else 0):
        raise AssertionError(f"exit code {code} with {len(failed)} files in error")
    if written != expected:
        raise AssertionError(f"files {sorted(written ^ expected)[:5]} do not fit the report")
    if len(failed) + len(report["converted"]) != len(files):
        raise AssertionError("a file is neither converted nor in error")
    if bugs := [entry for entry in report["errors"] if entry["reason"] == "internal_error"]:
        data = files[int(bugs[0]["file"].split(".")[0])]
        raise AssertionError(f"{bugs[0]['detail']}\n{data[:3000]!r}")
    counts = Counter(entry["reason"] for entry in report["errors"] + report["warnings"])
    counts["converted"] = len(report["converted"])
    return counts


def fuzz(files: int, seed: int) -> Counter[str]:
    """Mutates and converts `files` files."""
    rng = random.Random(seed)
    document = seed_document()
    counts: Counter[str] = Counter()
    for start in range(0, files, BATCH):
        batch = [mutate(document, rng) for _ in range(min(BATCH, files - start))]
        with tempfile.TemporaryDirectory() as folder:
            counts += run_batch(Path(folder), batch, TARGETS[start // BATCH % len(TARGETS)])
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    counts = fuzz(args.files, args.seed)
    for code, count in sorted(counts.items()):
        print(f"{count:8d}  {code}")
    print(
        f"{args.files} files in {time.perf_counter() - start:.0f} s: nothing raised, no leftovers"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
