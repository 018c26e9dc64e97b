"""`perception convert FROM --to TO SRC OUT`: labels from one format to another."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from perception.annotation import formats
from perception.cli.options import add_workers
from perception.errors import UsageError
from perception.memory import keep_freed_memory
from perception.progress import tracked

if TYPE_CHECKING:
    from perception.annotation.classes import LabelTable
    from perception.annotation.interfaces import Settings, Target
    from perception.annotation.report import Report
    from perception.labels import LabelScheme

EXAMPLES = """
examples:
  perception convert labelme --to kitti_road labels/ road/
  perception convert labelme --to cityscapes --city ulm --split val labels/ city/
  perception convert labelme --make-map map.yaml labels/      # a label map to edit
  perception convert kitti_object --to labelme data_object/ labels/

OUT/report.json lists what was converted, warnings and errors. Exit code: 0 no error, 1 a file has
no output because of an error (the others are converted), 2 wrong usage (nothing is written).
"""
SHOWN = 10  # problems shown on the terminal; the report has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `perception convert`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "source",
        metavar="FROM",
        choices=formats.SOURCES,
        help=f"format to read: {', '.join(formats.SOURCES)}",
    )
    parser.add_argument(
        "--to",
        metavar="TO",
        choices=formats.TARGETS,
        help=f"format to write: {', '.join(formats.TARGETS)}",
    )
    parser.add_argument("src", metavar="SRC", type=Path, help="a folder (recursive) or one file")
    parser.add_argument("out", metavar="OUT", type=Path, nargs="?", help="a folder")
    add_workers(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write into a folder that is not empty, replacing files of the same "
        "name; also resumes: what is up to date is not written again",
    )
    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--label-map",
        type=Path,
        metavar="FILE",
        help="JSON or YAML of your own labels (docs/annotation.md)",
    )
    labels.add_argument(
        "--make-map",
        type=Path,
        metavar="FILE",
        help="write a label map of the labels in SRC, to be edited; no OUT",
    )
    labels.add_argument(
        "--classes",
        metavar="NAMES",
        help="coco, yolo, semantic: your classes in order: car,person, a .txt file with one name "
        "per line, or a dataset.yaml",
    )
    labels.add_argument(
        "--scheme",
        metavar="FILE",
        help="coco, yolo, semantic: your classes from the `labels` of a dataset.yaml",
    )
    labels.add_argument(
        "--unlabelled",
        metavar="CLASS",
        help="semantic: the class of pixels that no shape covers (default: background, if that is "
        "a class, else ignored)",
    )
    labels.add_argument(
        "--unknown",
        choices=("error", "ignore"),
        default="error",
        help="labels that no map knows (default: error)",
    )
    labels.add_argument(
        "--painter-order",
        choices=("file", "area", "priority"),
        default="file",
        help="which shape covers which: later in the file, smaller, or by the "
        "label map (default: file)",
    )
    parser.add_argument(
        "--val-share",
        type=float,
        metavar="SHARE",
        help="keep this share of the frames for validation, e.g. 0.2: whole folders where there "
        "are several, else the last frames",
    )
    names = parser.add_argument_group("names")
    names.add_argument("--category", choices=("um", "umm", "uu"), help="KITTI road (default: um)")
    names.add_argument("--city", metavar="NAME", help="Cityscapes (default: custom)")
    names.add_argument("--split", metavar="NAME", help="Cityscapes (default: train)")
    names.add_argument(
        "--renumber",
        action="store_true",
        help="number the files even when their names follow the format",
    )
    names.add_argument(
        "--calib", type=Path, metavar="DIR", help="KITTI: copy DIR/<name>.txt along with each frame"
    )
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="follow image paths and links that lead out of SRC",
    )


def run(args: argparse.Namespace) -> int:
    """Converts; 0 without errors, 1 with."""
    from perception.annotation.convert import convert_folder

    if args.make_map is not None:
        return _make_map(args)
    if args.to is None or args.out is None:
        missing = "--to" if args.to is None else "OUT"
        raise _usage(missing, "nothing", "a value", "See `perception convert --help`.")
    target = formats.target(args.to)
    settings = _settings(args, target)
    _check_paths(args)
    keep_freed_memory()
    report = convert_folder(
        args.source,
        args.to,
        args.src,
        args.out,
        settings,
        workers=args.workers,
        options=_recorded(args, target),
        progress=partial(tracked, title="converting"),
    )
    _print(report, args.out)
    return 1 if report.errors else 0


def _settings(args: argparse.Namespace, target: Target) -> Settings:
    from perception.annotation.interfaces import Settings

    given = {
        "category": args.category,
        "city": args.city,
        "split": args.split,
        "calibration": args.calib,
        "unlabelled": args.unlabelled,
        "classes": args.classes,
        "scheme": args.scheme,
    }
    for name, value in given.items():
        if value is not None and name not in target.options:
            option = "calib" if name == "calibration" else name
            raise _usage(f"--{option}", "an option", f"none for --to {args.to}", "Leave it out.")
    for name, pattern in (("city", "[A-Za-z0-9-]+"), ("split", "[A-Za-z0-9_-]+")):
        if given[name] is not None and not re.fullmatch(pattern, given[name]):
            hint = "letters, digits and hyphens" + (" and underscores" if name == "split" else "")
            raise _usage(f"--{name}", repr(given[name]), hint, "Choose another name.")
    if args.calib is not None and not args.calib.is_dir():
        raise _usage("--calib", f"no folder {args.calib}", "a folder of .txt files", "Check it.")
    if args.val_share is not None and not 0 < args.val_share < 1:
        raise _usage("--val-share", str(args.val_share), "a share between 0 and 1, e.g. 0.2", "")
    if args.val_share is not None and args.split is not None:
        raise _usage("--split", "--val-share beside it", "one of the two", "")
    table, scheme = _classes(args)
    names = ("category", "city", "split", "calibration", "unlabelled")
    chosen = {name: given[name] for name in names if given[name] is not None}
    return Settings(
        table,
        scheme=scheme,
        val_share=args.val_share,
        painter_order=args.painter_order,
        unknown=args.unknown,
        renumber=args.renumber,
        allow_outside=args.allow_outside,
        **chosen,
    )


def _classes(args: argparse.Namespace) -> tuple[LabelTable, LabelScheme | None]:
    """What labels mean: the built-in classes, or one's own."""
    from perception.annotation.classes import default_table, load_table, normalise
    from perception.annotation.own_classes import class_names, own_scheme, own_table
    from perception.labels import load_scheme

    if args.classes is not None and args.scheme is not None:
        raise _usage("--classes", "--scheme beside it", "one of the two", "")
    if args.classes is None and args.scheme is None:
        if args.to == "semantic":
            raise _usage(
                "--to semantic",
                "no classes",
                "--scheme dataset.yaml or --classes road,car,...",
                "Ids are those of the scheme, or count from 0 in the order of the names.",
            )
        return load_table(args.label_map), None
    semantic = args.to == "semantic"
    if args.classes is not None:
        scheme = own_scheme(class_names(args.classes))
    else:
        scheme = load_scheme(args.scheme)
    names = [row.name for row in (scheme.classes if semantic else scheme.trained)]
    if args.unlabelled is not None and normalise(args.unlabelled) not in map(normalise, names):
        raise _usage("--unlabelled", args.unlabelled, f"one of {', '.join(names)}", "")
    table = own_table(names, default_table(), only=semantic)
    return load_table(args.label_map, table), scheme


def _recorded(args: argparse.Namespace, target: Target) -> dict[str, Any]:
    """The options that shape the output; not those of this very run (workers, folders)."""
    recorded = {
        "from": args.source,
        "painter_order": args.painter_order,
        "unknown": args.unknown,
        "label_map": args.label_map.name if args.label_map else None,
        "renumber": args.renumber,
        "allow_outside": args.allow_outside,
    }
    for name in ("classes", "val_share", "unlabelled"):
        if getattr(args, name) is not None:
            recorded[name] = getattr(args, name)
    if args.scheme is not None:
        recorded["scheme"] = Path(args.scheme).name
    defaults = {"category": "um", "city": "custom", "split": "train"}
    for name in sorted(target.options & set(defaults)):
        recorded[name] = getattr(args, name) or defaults[name]
    return recorded


def _check_paths(args: argparse.Namespace) -> None:
    if not args.src.exists():
        raise _usage(args.src, "no such file or folder", "labels to convert")
    if args.out.exists() and not args.out.is_dir():
        raise _usage(args.out, "a file", "a folder", "Choose another output.")
    if not args.overwrite and args.out.is_dir() and any(args.out.iterdir()):
        raise _usage(
            args.out,
            "a folder that is not empty",
            "a new or empty folder",
            "Choose another, or give --overwrite to replace files of the same name.",
        )


def _make_map(args: argparse.Namespace) -> int:
    from perception.annotation.make_map import write_map

    if args.to is not None or args.out is not None or args.source != "labelme":
        raise _usage(
            "--make-map",
            "--to, OUT or another format",
            "`convert labelme --make-map FILE SRC`",
            "It writes a label map and converts nothing.",
        )
    if not args.src.exists():
        raise _usage(args.src, "no such file or folder", "labelme files")
    if args.make_map.exists() and not args.overwrite:
        raise _usage(args.make_map, "a file", "a new file", "Give --overwrite to replace it.")
    summary = write_map(args.src, args.make_map)
    print(f"{args.make_map}: {summary.labels} labels, {len(summary.unknown)} unknown")
    for line in summary.unreadable[:SHOWN]:
        print(f"perception: {line}", file=sys.stderr)
    return 1 if summary.unreadable else 0


def _print(report: Report, out: Path) -> None:
    for kind, rows in (("error", report.errors), ("warning", report.warnings)):
        for file, problem in rows[:SHOWN]:
            shape = "" if problem.shape is None else f" shape {problem.shape}"
            line = f"{kind}: {file}{shape}: {problem.reason}: {problem.detail}"
            print(printable(line, sys.stderr), file=sys.stderr)
        if len(rows) > SHOWN:
            print(f"... and {len(rows) - SHOWN} more {kind}s in the report", file=sys.stderr)
    done = sum(not result.failed for result in report.results)
    summary = (
        f"{done} of {len(report.results)} files converted, {len(report.warnings)} warnings, "
        f"{len(report.errors)} errors{_passed_over(report)}: {out / 'report.json'}"
    )
    print(printable(summary, sys.stdout))
    splits = Counter(result.split for result in report.results if not result.failed)
    if splits["train"] + splits["val"]:
        print(f"train: {splits['train']} frames, val: {splits['val']} frames")


def _passed_over(report: Report) -> str:
    if not report.hidden:
        return ""
    return f" ({report.hidden} hidden file{'s' * (report.hidden > 1)} passed over)"


def printable(line: str, stream: TextIO) -> str:
    """The line with what the terminal's encoding cannot show written as escapes."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _usage(where: object, found: str, expected: str, do: str = "") -> UsageError:
    return UsageError(where, found, expected, do)
