"""A few tiny synthetic streets that the tests of training and of bad input share."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.cli import main
from perception.experiments.config import compose_config

TINY = (
    "encoder.width=0.35",
    "encoder.output_stride=32",
    "head.semantic.width=16",
    "head.semantic.skips={s8: 8}",
    "head.semantic.rates=[2]",
    "head.boxes.hidden=16",
    "head.boxes.refine_hidden=16",
    "augment=wide",
    "augment.size=[64,208]",
    "data.sets.synthetic.batch_size=2",
    "trainer.workers=0",
    "trainer.log_every=1",
    "trainer.report=false",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "steps=4",
)


@pytest.fixture(scope="session")
def streets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("streets")
    words = ["--frames", "6", "--val-frames", "2", "--size", "208x64", "--workers", "1"]
    assert main(["synthesize", str(folder), *words]) == 0
    return folder


@pytest.fixture
def words(streets, tmp_path):
    """Overrides of a run that takes seconds; `run` names its folder below the test's own."""

    def make(*more: str, run: str = "run") -> list[str]:
        return [*TINY, f"data.sets.synthetic.root={streets}", f"run_dir={tmp_path / run}", *more]

    return make


@pytest.fixture
def tiny(words):
    """The composed configuration of such a run."""

    def make(*more: str, run: str = "run"):
        return compose_config(words(*more, run=run))

    return make
