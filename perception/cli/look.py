"""`perception look data=...`: a page of augmented samples with their labels drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perception.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA = True
SUMMARY = """Draws the first samples of training, augmented, with their labels, into one HTML page.

  perception look data=camvid augment=weather samples=12 out=look.html
  perception look experiment=real_joint data.sets.kitti_object.root=/data/kitti_object

samples=N   samples of every data set (default 8)
out=FILE    the page (default look.html)"""


def run(words: Sequence[str]) -> int:
    """Writes the page and prints its path."""
    from perception.cli.composed import run_verb
    from perception.cli.options import split_options

    options, overrides = split_options(words, {"samples", "out"})
    samples = options.get("samples", "8")
    if not samples.isdecimal() or not int(samples):
        raise UsageError("samples", samples, "a number, 1 or more", "Use e.g. samples=8.")
    command = " ".join(["perception look", *words])
    work = partial(
        _look, samples=int(samples), out=Path(options.get("out", "look.html")), command=command
    )
    return run_verb(overrides, verb="look", summary=SUMMARY, work=work)


def _look(config: DictConfig, *, samples: int, out: Path, command: str) -> int:
    from omegaconf import OmegaConf

    from perception.data.build import build_augment, build_sets
    from perception.files import write_text
    from perception.runs.look import look_page

    plain: Any = OmegaConf.to_container(config, resolve=True)
    sets = build_sets(plain["data"], build_augment(plain["augment"]))
    write_text(out, look_page(sets, samples=samples, seed=int(plain["seed"]), command=command))
    print(out)
    return 0
