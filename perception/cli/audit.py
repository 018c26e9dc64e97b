"""`perception audit SRC`: finds the mistakes in a folder of labelme files."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perception.cli.convert import printable
from perception.cli.options import add_workers
from perception.errors import UsageError
from perception.progress import tracked

if TYPE_CHECKING:
    from perception.annotation.audit import Audit
    from perception.annotation.checks import Finding
    from perception.annotation.interfaces import Settings

EPILOG = """
Severities: error (converting refuses the file), warn (look at it), info (counts).
Exit code: 0 no error, 1 an error was found, 2 wrong usage.

  perception audit labels/
  perception audit labels/ --html audit.html
  perception audit labels/ --fix corrected/    # only what is safe
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `perception audit`."""
    parser.epilog = EPILOG
    parser.add_argument("src", metavar="SRC", type=Path, help="a folder (recursive) or one file")
    parser.add_argument(
        "--label-map", type=Path, metavar="FILE", help="JSON or YAML of your own labels"
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="only your own classes are known labels: car,person, a .txt file with one name per "
        "line, or a dataset.yaml",
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: for programs"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="a page with a thumbnail of each finding"
    )
    parser.add_argument("--fix", type=Path, metavar="OUT", help="write a corrected copy here")
    parser.add_argument(
        "--allow-outside", action="store_true", help="follow paths that lead out of SRC"
    )
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Audits; 0 without errors, 1 with."""
    from perception.annotation.audit import audit_folder
    from perception.annotation.classes import default_table, load_table
    from perception.annotation.interfaces import Settings
    from perception.annotation.own_classes import class_names, own_table

    _check(args)
    table = default_table()
    if args.classes is not None:
        table = own_table(class_names(args.classes), table, only=True)
    settings = Settings(load_table(args.label_map, table), allow_outside=args.allow_outside)
    audit = audit_folder(
        args.src, settings, workers=args.workers, progress=partial(tracked, title="auditing")
    )
    if args.html is not None:
        from perception.annotation.audit_page import audit_page
        from perception.files import write_text

        write_text(args.html, audit_page(audit, settings, str(args.src)))
    lines = _fix(args, audit, settings) if args.fix is not None else []
    if args.format == "json":
        print(json.dumps(_record(audit), indent=1))
    else:
        _print(audit)
    stream = sys.stderr if args.format == "json" else sys.stdout
    for line in lines:
        print(printable(line, stream), file=stream)
    return 1 if audit.count("error") else 0


def _fix(args: argparse.Namespace, audit: Audit, settings: Settings) -> list[str]:
    """Writes the corrected copy; what was corrected and what could not be, for the terminal."""
    from perception.annotation.audit import audit_folder
    from perception.annotation.fix import fix_folder

    done = fix_folder(audit, args.src, args.fix, settings)
    lines = [
        f"{args.fix}: {done.files} annotations, {done.changed} changed ({done.clipped} shapes "
        f"clipped, {done.points} repeated points and {done.shapes} duplicate shapes removed, "
        f"{done.image_paths} image paths corrected)"
    ]
    lines += [f"not copied: {name}" for name in done.missing]
    if not done.files:
        return lines
    left = audit_folder(args.fix, settings, workers=args.workers)
    rest = [finding for finding in left.findings if finding.severity != "info"]
    lines += [f"not fixed: {_line(finding)}" for finding in rest]
    return [*lines, f"{len(rest)} findings are left in the copy" if rest else "the copy is clean"]


def _check(args: argparse.Namespace) -> None:
    if not args.src.exists():
        raise UsageError(args.src, "no such file or folder")
    if args.html is not None and args.html.is_file() and not _is_page(args.html):
        raise UsageError(args.html, "a file that is no page", "a new file, or a page to replace")
    if args.fix is None:
        return
    source, out = Path(os.path.realpath(args.src)), Path(os.path.realpath(args.fix))
    if source.is_dir() and (out == source or source in out.parents):
        raise UsageError(args.fix, "a folder inside the source", "a folder beside it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(args.fix, "an existing file or folder", "a new or empty folder")


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(200).lstrip().lower()
    return not start or start.startswith((b"<!doctype html", b"<html"))


def _record(audit: Audit) -> dict[str, object]:
    findings = [
        {
            "severity": f.severity,
            "reason": f.reason,
            "file": f.file or None,
            "shape": f.shape,
            "detail": f.detail,
        }
        for f in audit.findings
    ]
    counts = {name: audit.count(name) for name in ("error", "warn", "info")}
    return {"counts": counts, "findings": findings}


def _print(audit: Audit) -> None:
    for finding in audit.findings:
        print(printable(f"{finding.severity:5} {_line(finding)}", sys.stdout))
    print(
        f"{len(audit.files)} files: {audit.count('error')} errors, {audit.count('warn')} warnings"
    )


def _line(finding: Finding) -> str:
    shape = "" if finding.shape is None else f" shape {finding.shape}"
    return f"{finding.file or '(folder)'}{shape}: {finding.reason}: {finding.detail}"
