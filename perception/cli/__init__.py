"""The command line: `perception VERB ...`. A verb's module is imported only when it is called.

Each verb is one module `perception/cli/<verb>.py` with `add_arguments(parser)` and
`run(args) -> int`; a module with `HYDRA = True` gets the words after the verb untouched.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from pathlib import Path

from perception.errors import PerceptionError, UsageError

VERBS = {
    "train": "train a multi-task model, evaluate it and write a report",
    "evaluate": "score a trained run on its validation sets",
    "predict": "predict images, a folder or a video with a trained run",
    "export": "write a trained run as an ONNX, OpenVINO or torch.export file",
    "serve": "answer images over HTTP with a trained model; a page to try it on",
    "synthesize": "render street scenes with labels in four formats",
    "look": "draw augmented samples with their labels into a page",
    "prepare": "verify a data set: what is there, missing, damaged",
    "convert": "convert labels between labelme, KITTI, Cityscapes and others",
    "audit": "find the mistakes in a folder of labelme files",
    "annotate": "label images with labelme, starting from a model if there is one",
    "pseudo-label": "let a detector label a data set for training",
    "score": "score predictions of any model with a benchmark's own numbers",
    "submit": "write and check the archive for a benchmark's server",
    "compare": "say whether the difference of two scores is more than noise",
    "doctor": "report what this installation can do",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; 0 done, 1 something wrong with the data, 2 wrong usage, 130 interrupted."""
    words = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):  # what a terminal cannot show is written as escapes
        if hasattr(stream, "reconfigure") and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except PerceptionError as error:
        print(f"perception: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("perception: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _silence()
        return 1
    except OSError as error:  # a full terminal, or a call that no reader or writer names better
        _silence()
        print(f"perception: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 1


def _silence() -> None:
    """Sends what is still to be printed nowhere: the reader has gone, or its disk is full."""
    with contextlib.suppress(OSError, ValueError):  # a stream of our own caller has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    verb = words[0] if words and words[0] in VERBS else None
    parser = argparse.ArgumentParser("perception", description=__import__("perception").__doc__)
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument(
        "--completion", action="store_true", help="print a completion script (bash)"
    )
    if words == ["--completion"]:
        from perception.cli.completion import script

        print(script(list(VERBS)))
        return 0
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        sub = verbs.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + "."
        )
        if name == verb:
            module = importlib.import_module(f"perception.cli.{name.replace('-', '_')}")
            if getattr(module, "HYDRA", False):
                result: int = module.run(words[1:])
                return result
            sub.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    for name, value in vars(args).items():  # the shell leaves --root=~/data as it is
        if isinstance(value, Path):
            setattr(args, name, value.expanduser())
    code: int = args.run(args)
    return code


def _version() -> str:
    from perception._version import __version__

    return f"road-perception {__version__}"
