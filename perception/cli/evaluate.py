"""`perception evaluate run=RUN`: scores a trained run on its validation sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perception.cli.predict import split_options
from perception.errors import UsageError

HYDRA = True
USAGE = """usage: perception evaluate run=RUN [which=best|last] [device=auto] [key=value ...]

Scores a trained run on its validation sets with the benchmarks' evaluators, in original pixels,
and writes evaluation.json and report.html into the run's folder. Other key=value words change the
run's configuration, e.g. data.sets.camvid.root=/data/camvid."""


def run(words: Sequence[str]) -> int:
    """Evaluates and prints one line per metric."""
    if {"--help", "-h"} & set(words):
        print(USAGE)
        return 0
    options, overrides = split_options(words, {"run", "which", "device"})
    if "run" not in options:
        raise UsageError(
            "perception evaluate",
            "no run=",
            "run=RUN",
            "Give the folder that perception train printed.",
        )
    from perception.runs.report import write_report
    from perception.runs.terminal import print_metrics

    page, evaluation = write_report(
        Path(options["run"]),
        which=options.get("which"),
        device=options.get("device", "auto"),
        overrides=overrides,
    )
    print_metrics(evaluation)
    print(f"report: {page}")
    return 0
