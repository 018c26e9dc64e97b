"""`perception train key=value ...`: the main job, from data on disk to a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA = True
SUMMARY = "Trains a multi-task model, evaluates it and writes a report (Hydra overrides)."


def run(words: Sequence[str]) -> int:
    """Trains a new run, or goes on with `resume=RUN`."""
    from perception.cli.hydra import run_verb
    from perception.experiments.config import merge_overrides
    from perception.training.loop import resume_config

    resumed = [w.split("=", 1)[1] for w in words if w.startswith("resume=")]
    if resumed and resumed[-1] not in ("", "null"):
        from pathlib import Path

        others = [w for w in words if not w.startswith("resume=")]
        return _train(merge_overrides(resume_config(Path(resumed[-1])), others))
    return run_verb(words, verb="train", summary=SUMMARY, work=_train)


def _train(config: DictConfig) -> int:
    import sys

    from perception.report.overlay import draw_prediction
    from perception.training.loop import Interrupted, train

    try:
        folder = train(config, draw=draw_prediction)
    except Interrupted as stop:
        print(f"interrupted; saved. Go on: perception train resume={stop}", file=sys.stderr)
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
