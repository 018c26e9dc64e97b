"""`perception export RUN`: a trained run as an ONNX, OpenVINO or torch.export file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from perception.cli.options import read_words
from perception.errors import UsageError

HYDRA = True
SYNTAX = "perception export RUN [key=value ...]"
USAGE = f"""usage: {SYNTAX}

Writes a trained run as one file that needs no training code: uint8 RGB images in, named answers in
their own pixels out. The file is compared with the run on validation frames; where it differs too
much it is kept as FILE.refused (exit code 1). The report lies beside it.

  format=onnx|openvino|torch    default: onnx
  out=FILE                      default: RUN/export/model.onnx (.xml, .pt2)
  size=HxW                      images of one size only, e.g. 384x1248 (default: any)
  nms=false                     all candidate boxes, without suppression
  half=true                     weights as float16: half the size
  images=N                      validation frames of each set to compare on (default: 8)
  max_drop=POINTS               what a score may lose, of 100 (default: 0.1)
  which=best|last               checkpoint (default: the best where there is one)

Other key=value words change the run's configuration, e.g. head.boxes.nms_iou=0.4."""
OPTIONS = {"format", "out", "size", "nms", "half", "images", "max_drop", "which"}


def run(words: Sequence[str]) -> int:
    """Exports and prints what was compared; 1 where the file is refused."""
    if {"--help", "-h"} & set(words):
        print(USAGE)
        return 0
    read = read_words(words, verb="export", options=OPTIONS, old=[])
    if len(read.paths) != 1:
        found = f"{len(read.paths)} runs" if read.paths else "no RUN"
        raise UsageError("perception export", found, "RUN, the folder that train printed")
    given = read.options
    kind = given.get("format", "onnx")
    if kind not in ("onnx", "openvino", "torch"):
        raise UsageError("format", kind, "onnx, openvino or torch")
    size, nms, half = _size(given), _switch(given, "nms", True), _switch(given, "half", False)
    if half and kind == "torch":
        raise UsageError("half", "format=torch", "format=onnx or openvino")
    images, drop = _number(given, "images", 8, 1), _number(given, "max_drop", 0.1, 0)
    from perception.export.write import Settings
    from perception.runs.export import REFUSED, export_run

    done = export_run(
        read.paths[0],
        Path(given["out"]).expanduser() if given.get("out") else None,
        Settings(kind, size, nms, half),
        images=int(images),
        max_drop=drop,
        which=given.get("which"),
        overrides=read.overrides,
    )
    if done.written.operators:
        print("operators: " + ", ".join(f"{n} {c}" for n, c in done.written.operators.items()))
    for runtime, missing in done.written.unsupported.items():
        print(f"note: {runtime} does not have {', '.join(missing)}")
    print(f"compared on {done.note}")
    for task, d in done.differences.items():
        print(f"  {task}: largest {d.largest:.2g}, mean {d.mean:.2g}, agreement {d.agreement:.2%}")
    for name, (before, after) in done.scores.items():
        print(f"  {name}: {before:.2%} -> {after:.2%}")
    path = done.written.path
    for line in done.problems:
        print(f"perception: {line}", file=sys.stderr)
    if done.problems:
        print(f"perception: {path}: refused, kept as {path.name}{REFUSED}", file=sys.stderr)
        return 1
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB), report: {done.report}")
    return 0


def _size(given: dict[str, str]) -> tuple[int, int] | None:
    text = given.get("size")
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError("size", text, "HEIGHTxWIDTH, e.g. 384x1248")
    return int(height), int(width)


def _switch(given: dict[str, str], name: str, default: bool) -> bool:
    text = given.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise UsageError(name, given[name], "true or false")
    return text == "true"


def _number(given: dict[str, str], name: str, default: float, least: float) -> float:
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise UsageError(name, given[name], f"a number of at least {least:g}")
    return value
