"""`perception score BENCHMARK --gt ... --pred ...`: scores of files on disk."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perception.cli.options import add_workers, whole_number
from perception.errors import UsageError
from perception.evaluation import BENCHMARKS, Outcome, benchmark_class, create, run_benchmark
from perception.memory import keep_freed_memory
from perception.progress import progress

_EXAMPLES = """examples:
  perception score kitti_road/bev --gt data_road/training/gt_image_2 --pred maps --html road.html
  perception score cityscapes/pixel --gt gtFine/val --pred out --workers 4 --json out.json
  perception score kitti_object/kitti_2019 --gt training/label_2 --pred results --bootstrap 1000

`perception score BENCHMARK --help` shows the options of one benchmark.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per protocol; a benchmark's module is imported when it is called."""
    parser.epilog = _EXAMPLES
    choices = parser.add_subparsers(
        title="benchmarks",
        dest="benchmark",
        metavar="BENCHMARK",
        required=True,
        parser_class=_BenchmarkParser,
    )
    for name, (_, _, summary) in BENCHMARKS.items():
        choices.add_parser(name, help=summary, description=f"Score {summary}.").benchmark = name

    def known(word: str) -> str:
        """Makes a sub-command of `my_package.my_module:MyBenchmark` when it is asked for."""
        if re.fullmatch(r"[\w.]+:\w+", word) and word not in (choices.choices or ()):
            choices.add_parser(word).benchmark = word
        return word

    choices.type = known


def run(args: argparse.Namespace) -> int:
    """Scores, prints the table, and writes what was asked for."""
    keep_freed_memory()
    outcome = _score(args)
    _refuse_inputs(args, outcome)
    intervals: Mapping[str, Any] = {}
    if args.bootstrap:
        from perception.evaluation.bootstrap import intervals_of

        intervals = intervals_of(outcome, draws=args.bootstrap, seed=args.seed)
    if args.json:
        from perception.evaluation.outcome_file import write_outcome

        write_outcome(args.json, outcome, intervals, draws=args.bootstrap, seed=args.seed)
    if args.html:
        from perception.evaluation.page import write_page

        write_page(args.html, outcome, intervals, worst=args.worst)
    print_outcome(outcome, intervals)
    if args.bootstrap and not intervals:
        from perception.evaluation.bootstrap import TOO_FEW

        print(f"note: {TOO_FEW}", file=sys.stderr)
    return 0


def _refuse_inputs(args: argparse.Namespace, outcome: Outcome) -> None:
    """Raises a `UsageError` for an output that would replace a label or a prediction."""
    read = {args.gt, args.pred}
    for job in outcome.jobs:
        read |= {value for value in vars(job).values() if isinstance(value, Path)}
    real = {os.path.realpath(path) for path in read}
    folders = [os.path.realpath(path) for path in (args.gt, args.pred) if path.is_dir()]
    for option in ("json", "html"):
        path = getattr(args, option)
        if path is None or not path.exists():
            continue
        here = os.path.realpath(path)
        held = any(Path(here).is_relative_to(folder) for folder in folders)
        if here in real or (held and path.suffix.lower() != f".{option}"):
            raise UsageError(
                f"--{option} {path}", "a file of the labels or predictions", "another file"
            )


def print_outcome(outcome: Outcome, intervals: Mapping[str, Any]) -> None:
    """The benchmark's tables, its intervals and its warnings, on the terminal."""
    from perception.report.parts import Column, Table
    from perception.report.terminal import console, rich_table

    shown, protocol = console(), outcome.benchmark.protocol
    shown.print(
        f"{protocol.name} version {protocol.version}, {len(outcome.jobs)} images",
        style="bold",
        markup=False,
    )
    for table in outcome.result.tables:
        shown.print(rich_table(table))
    if intervals:
        rows = tuple(
            (name, outcome.result.headline[name], low, high)
            for name, (low, high) in intervals.items()
        )
        columns = (Column("", "text"), Column("score"), Column("from"), Column("to"))
        shown.print(rich_table(Table(columns, rows, "95 % of resampled sets of images")))
    if outcome.inventory:
        shown.print(outcome.inventory, markup=False)
    if outcome.left_out:
        shown.print(f"left out: {outcome.left_out}", markup=False)
    for note in outcome.result.notes:
        print(f"note: {note}", file=sys.stderr)


class _BenchmarkParser(argparse.ArgumentParser):
    """Adds its options when it is asked to parse, so that only one benchmark is imported."""

    benchmark = ""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self.add_argument(
            "--gt",
            type=Path,
            required=True,
            metavar="PATH",
            help="the labels, in the benchmark's official layout",
        )
        self.add_argument(
            "--pred", type=Path, required=True, metavar="PATH", help="the predictions of any model"
        )
        group = self.add_argument_group("benchmark")
        benchmark_class(self.benchmark).add_arguments(group)
        options = {action.dest for action in group._group_actions}
        group = self.add_argument_group("output")
        group.add_argument(
            "--json",
            type=Path,
            metavar="FILE",
            help="scores and per-image records (for `perception compare`)",
        )
        group.add_argument(
            "--html",
            type=Path,
            metavar="FILE",
            help="one page with curves, images sorted by score, the worst ones",
        )
        group.add_argument(
            "--worst",
            type=whole_number("--worst", 0),
            default=8,
            metavar="N",
            help="images shown on the page (default 8)",
        )
        add_workers(group)
        group.add_argument(
            "--bootstrap",
            type=whole_number("--bootstrap", 0),
            default=0,
            metavar="N",
            help="95%% intervals from N resampled sets of images, e.g. 1000",
        )
        group.add_argument("--seed", type=int, default=0, help="of the resampling (default 0)")
        self.set_defaults(options=options)
        return super().parse_known_args(args, namespace)


def _score(args: argparse.Namespace) -> Outcome:
    options = {key: value for key, value in vars(args).items() if key in args.options}
    benchmark = create(args.benchmark, options)
    with progress(args.benchmark) as show:
        return run_benchmark(benchmark, args.gt, args.pred, workers=args.workers, advance=show)
