"""The verbs that take Hydra overrides: help, composed configuration, sweeps.

A verb calls `run_verb(words, ...)`; `work(config)` gets the composed configuration. `--multirun`
sweeps run through Hydra's own launcher.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from perception.errors import PerceptionError, UsageError
from perception.experiments.config import compose_config, first_of_sweep, groups, options_of
from perception.files import packaged

Work = Callable[[DictConfig], int]


def run_verb(words: Sequence[str], *, verb: str, summary: str, work: Work) -> int:
    """Runs `work` on the configuration that `words` (Hydra overrides) describe.

    `--help` prints usage, groups and keys; `--cfg` prints the composed configuration; `--multirun`
    (`-m`) sweeps over comma-separated values.
    """
    flags = [w for w in words if w.startswith("-")]
    overrides = [w for w in words if not w.startswith("-")]
    if unknown := set(flags) - {"--help", "-h", "--cfg", "--multirun", "-m"}:
        raise UsageError(
            f"perception {verb}",
            ", ".join(sorted(unknown)),
            "--help, --cfg or --multirun",
            "Settings are key=value words.",
        )
    if {"--help", "-h"} & set(flags):
        print(_help(verb, summary))
        return 0
    if {"--multirun", "-m"} & set(flags):
        return _multirun(overrides, verb, work)
    config = compose_config(overrides)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(config))
        return 0
    return work(config)


# ---------------------------------------------------------------------------- helpers


def _help(verb: str, summary: str) -> str:
    lines = [
        f"usage: perception {verb} [key=value ...] [--cfg] [--multirun] [--help]",
        "",
        summary,
        "",
        "Groups (group=choice):",
        *(f"  {group:<16} {', '.join(options_of(group))}" for group in groups()),
        "",
        "--cfg prints all keys and values; --multirun (-m) runs every combination of values",
        "separated by commas, e.g. seed=0,1,2.",
    ]
    return "\n".join(lines)


def _multirun(overrides: Sequence[str], verb: str, work: Work) -> int:
    """Runs Hydra's own sweep; the first error of a job is its line and the exit code."""
    import hydra

    codes: list[int] = []

    def job(config: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        OmegaConf.set_struct(config, False)
        config.run_dir = str(Path(HydraConfig.get().runtime.output_dir))
        try:
            codes.append(work(config))
        except PerceptionError as error:
            print(f"perception: {error}", file=sys.stderr)
            codes.append(1)

    compose_config(first_of_sweep(overrides))  # says what is wrong in our own words
    started = sys.argv
    sys.argv = [f"perception {verb}", "--multirun", *overrides]
    try:
        hydra.main(config_path=str(packaged("conf")), config_name="config", version_base="1.3")(
            job
        )()
    finally:
        sys.argv = started
    return max(codes, default=1)
