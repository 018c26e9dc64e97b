"""`perception evaluate RUN`: scores a trained run on its validation sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perception.cli.options import read_words
from perception.errors import UsageError

HYDRA = True
SYNTAX = "perception evaluate RUN [which=best|last] [device=auto] [out=DIR] [key=value ...]"
USAGE = f"""usage: {SYNTAX}

Scores a trained run on its validation sets with the benchmarks' evaluators, in original pixels,
and writes evaluation.json and report.html into the run's folder. RUN may be a file that
`perception export` wrote: it is scored on the validation sets of of=RUN, or of the nearest run
above the file, and the scores go into FILE.evaluation.json. Other key=value words change the
run's configuration, e.g. data.sets.camvid.root=/data/camvid; their scores go to `out`, by default
RUN/evaluations/1, 2, ..., and say what was changed."""


def run(words: Sequence[str]) -> int:
    """Evaluates and prints one line per metric."""
    if {"--help", "-h"} & set(words):
        print(USAGE)
        return 0
    read = read_words(words, verb="evaluate", options={"which", "device", "out", "of"}, old=["run"])
    if len(read.paths) != 1:
        found = f"{len(read.paths)} runs" if read.paths else "no RUN"
        raise UsageError("perception evaluate", found, "RUN, the folder that train printed")
    from perception.runs.report import write_report
    from perception.runs.terminal import print_metrics

    if read.paths[0].suffix in (".onnx", ".xml", ".pt2"):
        from perception.runs.evaluate import evaluate_file

        scored, written = evaluate_file(
            read.paths[0], read.options.get("of"), device=read.options.get("device", "auto")
        )
        print_metrics(scored)
        print(f"scores: {written}")
        return 0
    page, evaluation = write_report(
        read.paths[0],
        which=read.options.get("which"),
        device=read.options.get("device", "auto"),
        overrides=read.overrides,
        out=Path(read.options["out"]) if read.options.get("out") else None,
    )
    print_metrics(evaluation)
    print(f"report: {page}")
    read.say_old(SYNTAX)
    return 0
