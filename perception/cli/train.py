"""`perception train key=value ...`: the main job, from data on disk to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perception.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA = True
SUMMARY = """Trains a multi-task model, evaluates it and writes a report (Hydra overrides).

  perception train experiment=demo
  perception train data=camvid data.sets.camvid.root=~/data/camvid encoder=resnet18
  perception train resume=runs/demo/2026-01-31_12-00-00"""


def run(words: Sequence[str]) -> int:
    """Trains a new run, or goes on with `resume=RUN`."""
    from perception.cli.composed import run_verb

    resumed = [w.split("=", 1)[1] for w in words if w.startswith("resume=")]
    flags = [w for w in words if w.startswith("-")]
    if not resumed or resumed[-1] in ("", "null") or {"-h", "--help"} & set(flags):
        return run_verb(words, verb="train", summary=SUMMARY, work=_train)
    if flags:
        raise UsageError(f"resume={resumed[-1]}", flags[0], "key=value words only")
    from perception.training.loop import resume_config

    others = [w for w in words if not w.startswith("resume=")]
    return _train(resume_config(_run_of(resumed[-1]), others))


def _run_of(text: str) -> Path:
    """The folder of a run, named itself or by its last.pt."""
    path = Path(text).expanduser()
    if path.name == "last.pt":
        return path.parent
    if path.suffix == ".pt":
        raise UsageError(f"resume={text}", "a file", "the folder of the run, or its last.pt")
    return path


def _train(config: DictConfig) -> int:
    import sys

    from perception.report.overlay import draw_prediction
    from perception.training.loop import Interrupted, train

    try:
        folder = train(config, draw=draw_prediction)
    except Interrupted as stop:
        print(
            f"Interrupted; the state is saved. Resume with: perception train resume={stop}",
            file=sys.stderr,
        )
        return 130
    if folder is None:  # the first process writes the report
        return 0
    if config.trainer.report:
        from perception.runs.report import write_report
        from perception.runs.terminal import print_metrics

        page, evaluation = write_report(folder)
        print_metrics(evaluation)
        print(f"report: {page}")
    else:
        print(f"run: {folder}")
    return 0
