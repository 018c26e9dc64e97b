"""The verbs that take a composed configuration: help, `--cfg`, sweeps, own configuration folders.

A verb calls `run_verb(words, ...)`; `work(config)` gets the composed configuration. Nothing heavy
is imported before it is needed: `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perception.errors import PerceptionError, UsageError
from perception.experiments.groups import groups, options_of, own_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

Work = Callable[["DictConfig"], int]
FLAGS = ("--help", "-h", "--cfg", "--multirun", "-m")


def run_verb(words: Sequence[str], *, verb: str, summary: str, work: Work) -> int:
    """Runs `work` on the configuration that `words` (Hydra overrides) describe.

    `--help` prints usage, groups and keys; `--cfg` prints the composed configuration; `--multirun`
    (`-m`) runs every combination of comma-separated values, one after the other.
    """
    named, words = _take_folder(words, verb)
    flags = {w for w in words if w.startswith("-")}
    overrides = [w for w in words if not w.startswith("-")]
    if unknown := flags - set(FLAGS):
        raise UsageError(
            f"perception {verb}",
            ", ".join(sorted(unknown)),
            "--help, --cfg, --multirun or --config-dir",
            "Settings are key=value words.",
        )
    own = own_folder(named)
    if {"--help", "-h"} & flags:
        print(_help(verb, summary, own))
        return 0
    from omegaconf import OmegaConf

    from perception.experiments.config import compose_config
    from perception.experiments.overrides import sweep_jobs

    sweep = bool({"--multirun", "-m"} & flags)
    jobs = sweep_jobs(overrides) if sweep else [overrides]
    configs = [compose_config(job, own=named) for job in jobs]  # all, before the first one runs
    if "--cfg" in flags:
        for job, config in zip(jobs, configs, strict=True):
            print(f"# {' '.join(job)}\n" if sweep else "", end="")
            print(OmegaConf.to_yaml(config) + ("---" if config is not configs[-1] else ""))
        return 0
    return _run_sweep(jobs, configs, named, work) if sweep else work(configs[0])


# ---------------------------------------------------------------------------- helpers


def _take_folder(words: Sequence[str], verb: str) -> tuple[Path | None, list[str]]:
    """The folder of `--config-dir DIR` (or `--config-dir=DIR`), and all other words."""
    others, found = list(words), None
    for place, word in enumerate(words):
        if word == "--config-dir":
            if place + 1 == len(words):
                raise UsageError(f"perception {verb}", "--config-dir without a folder")
            found = words[place + 1]
            del others[place : place + 2]
            break
        if word.startswith("--config-dir="):
            found = word.partition("=")[2]
            del others[place]
            break
    return (None if found is None else Path(found)), others


def _help(verb: str, summary: str, own: Path | None) -> str:
    lines = [
        f"usage: perception {verb} [key=value ...] [--cfg] [--multirun] [--config-dir DIR]",
        "",
        summary,
        "",
        "Groups (group=choice):",
        *(f"  {group:<16} {', '.join(options_of(group, own))}" for group in groups()),
        "",
        "--cfg prints all keys and values; --multirun (-m) runs every combination of values",
        "separated by commas, e.g. seed=0,1,2; --config-dir DIR adds your own choices, e.g.",
        "DIR/experiment/mine.yaml (default: conf/ in the working directory).",
    ]
    return "\n".join(lines)


def _run_sweep(
    jobs: Sequence[Sequence[str]], configs: Sequence[DictConfig], own: Path | None, work: Work
) -> int:
    """Runs the jobs in numbered folders; the first error of a job is its line, the others go on."""
    from omegaconf import OmegaConf

    from perception.experiments.config import sweep_folder

    base = sweep_folder(jobs[0], 0, own=own).parent  # its name holds the time of the first job
    codes = []
    for number, (job, config) in enumerate(zip(jobs, configs, strict=True)):
        OmegaConf.set_struct(config, False)
        config.run_dir = str(base / sweep_folder(job, number, own=own).name)
        try:
            codes.append(work(config))
        except PerceptionError as error:
            print(f"perception: {error}", file=sys.stderr)
            codes.append(1)
    if any((Path(config.run_dir) / "config.yaml").is_file() for config in configs):
        from perception.runs.sweep import read_job, tell_sweep

        told = zip(jobs, configs, codes, strict=True)
        tell_sweep(base, [read_job(Path(c.run_dir), job, code) for job, c, code in told])
    return max(codes, default=1)
