"""`perception compare A.json B.json`: is the difference of two scores more than noise?

Two runs' `evaluation.json` are shown side by side, without a verdict.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from perception.errors import PerceptionError, UsageError
from perception.evaluation.bootstrap import FEWEST, Difference, compare
from perception.evaluation.outcome_file import StoredOutcome, read_outcome
from perception.files import read_json, write_json
from perception.runs.compare import check_same, is_run_record, read_run_scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two files of `perception score --json`, or two runs' evaluation.json."""
    parser.add_argument("first", type=Path, metavar="A.json", help="scores of `score --json`")
    parser.add_argument("second", type=Path, metavar="B.json", help="the same images, other model")
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=2000,
        metavar="N",
        help="resampled sets of images (default 2000)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the differences")


def run(args: argparse.Namespace) -> int:
    """Prints one line per headline number."""
    if args.bootstrap < 1:
        raise UsageError("--bootstrap", str(args.bootstrap), "1 or more", "Give a larger number.")
    if is_run_record(read_json(args.first)) and is_run_record(read_json(args.second)):
        return _compare_runs(args)
    first, second = read_outcome(args.first), read_outcome(args.second)
    _check(first, second)
    order = {key: i for i, key in enumerate(second.keys)}
    matched = [second.records[order[key]] for key in first.keys]
    found = compare(
        (first.headline, first.benchmark.resampler(first.records)),
        (second.headline, second.benchmark.resampler(matched)),
        images=len(first.keys),
        draws=args.bootstrap,
        seed=args.seed,
    )
    if args.json:
        write_json(
            args.json,
            {
                name: {
                    "first": d.first,
                    "second": d.second,
                    "difference": d.value,
                    "low": d.low,
                    "high": d.high,
                    "p": d.p,
                    "beyond_noise": None if math.isnan(d.p) else d.beyond_noise,
                }
                for name, d in found.items()
            },
        )
    _print(first, second, found, args.bootstrap)
    return 0


def _compare_runs(args: argparse.Namespace) -> int:
    first, second = read_run_scores(args.first), read_run_scores(args.second)
    check_same(first, second)
    names = [name for name in first.metrics if name in second.metrics]
    pairs = {name: (first.metrics[name], second.metrics[name]) for name in names}
    if args.json:
        write_json(
            args.json,
            {
                name: {"first": a, "second": b, "difference": b - a, "beyond_noise": None}
                for name, (a, b) in pairs.items()
            },
        )
    from perception.report.parts import Column, Table
    from perception.report.terminal import console, rich_table

    rows = tuple((name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}") for name, (a, b) in pairs.items())
    sides = (Column(f"{one.parent.name}/{one.stem}") for one in (args.first, args.second))
    columns = (Column("", "text"), *sides, Column("difference"))
    note = "a run's record holds no counts per frame: no verdict on noise"
    console().print(rich_table(Table(columns, rows, note=note)))
    return 0


def _check(first: StoredOutcome, second: StoredOutcome) -> None:
    """Only scores of one protocol on the same images compare."""
    if first.benchmark.protocol != second.benchmark.protocol:
        raise PerceptionError(
            second.path,
            _named(second),
            f"{_named(first)} as in {first.path}",
            "Score both models by one protocol with the same options.",
        )
    if len(set(first.keys)) != len(first.keys) or set(first.keys) != set(second.keys):
        odd = sorted(set(first.keys) ^ set(second.keys))
        raise PerceptionError(
            second.path,
            f"{len(odd)} images that only one file has, e.g. {odd[:1]}",
            f"the {len(first.keys)} images of {first.path}",
            "Score both models on the same images.",
        )


def _named(outcome: StoredOutcome) -> str:
    protocol = outcome.benchmark.protocol
    return f"{protocol.name} version {protocol.version} {dict(protocol.parameters)}"


def _verdict(difference: Difference) -> str:
    if math.isnan(difference.p):
        return "too few images"
    return "more than noise" if difference.beyond_noise else "within noise"


def _print(
    first: StoredOutcome, second: StoredOutcome, found: dict[str, Difference], draws: int
) -> None:
    from perception.report.parts import Column, Table
    from perception.report.terminal import console, rich_table

    rows = tuple(
        (
            name,
            d.first,
            d.second,
            f"{100 * d.value:+.2f}",
            "–" if math.isnan(d.p) else f"{100 * d.low:+.2f} to {100 * d.high:+.2f}",
            d.p,
            _verdict(d),
        )
        for name, d in found.items()
    )
    columns = (
        Column("", "text"),
        Column(first.path.stem),
        Column(second.path.stem),
        Column("difference"),
        Column("95 % interval"),
        Column("p", "number"),
        Column("verdict", "number"),
    )
    note = f"{len(first.keys)} images, {draws} paired draws, {first.benchmark.protocol.name}"
    if len(first.keys) < FEWEST:
        note += f"; fewer than {FEWEST} images say nothing about noise"
    console().print(rich_table(Table(columns, rows, note=note)))
