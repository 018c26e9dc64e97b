"""Every n-th system call of a verb fails: no half file, no silent success, no traceback."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from perception.cli import main
from perception.experiments import checkpoint
from perception.files import read_raster, write_image
from tests.conftest import TINY

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PATHS = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1}  # event → its path


class Disk:
    """Counts calls that change what is below `root`; the one numbered `failing` fails."""

    def __init__(self) -> None:
        self.root, self.calls, self.failing = "", 0, -1
        self.fsync = os.fsync

    def watch(self, root: Path | None, failing: int = -1) -> None:
        self.root, self.calls, self.failing = str(root or ""), 0, failing

    def hook(self, event: str, given: tuple) -> None:
        if not self.root or (event != "open" and event not in PATHS):
            return
        path = given[PATHS.get(event, 0)]
        if event == "open" and not (isinstance(given[2], int) and given[2] & WRITES):
            return
        named = isinstance(path, str | bytes | os.PathLike)
        if named and os.fsdecode(path).startswith(self.root):
            self.count()

    def sync(self, handle: int) -> None:
        if self.root:
            self.count()
        self.fsync(handle)

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


DISK = Disk()
sys.addaudithook(DISK.hook)


@pytest.fixture(autouse=True)
def fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", DISK.sync)
    yield
    DISK.watch(None)


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> Path:
    """Streets in every format, maps to score, and a run that predicts."""
    folder = tmp_path_factory.mktemp("failing") / "streets"
    assert main(["synthesize", str(folder), *FRAMES]) == 0
    for label in (folder / "kitti_road/training/gt_image_2").glob("*_road_*.png"):
        write_image(folder / "maps" / label.name, read_raster(label)[..., 2])
    assert main(["train", *training(folder, folder / "run")]) == 0
    return folder


def training(streets: Path, run: Path) -> list[str]:
    """Overrides of a training of two steps."""
    small = ["data.sets.synthetic.batch_size=1", "trainer.evaluate_every=1", "steps=2"]
    return [*TINY, f"data.sets.synthetic.root={streets}", f"run_dir={run}", *small]


FRAMES = ["--frames", "2", "--val-frames", "1", "--size", "128x64", "--workers", "1"]
PICTURES = "cityscapes/leftImg8bit/train"
VERBS = {
    "predict": lambda s, out: ["predict", str(s / "run"), str(s / PICTURES), f"out={out}"],
    "synthesize": lambda s, out: ["synthesize", str(out), *FRAMES],
    "convert": lambda s, out: [
        "convert", "labelme", "--to", "kitti_road", str(s / "labelme"), str(out), "--workers", "1",
    ],
    "score": lambda s, out: [
        "score", "kitti_road/perspective", "--workers", "1",
        "--gt", str(s / "kitti_road/training/gt_image_2"),
        "--pred", str(s / "maps"),
        "--json", str(out / "scores.json"), "--html", str(out / "page.html"),
    ],
}  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    """Contents by name; of records and pages, which tell what was done and when, only the name."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            told = path.name in ("synthesis.json", "scores.json", "page.html", "report.json")
            found[str(path.relative_to(folder))] = b"" if told else path.read_bytes()
    return found


def every(verb: str, streets: Path, tmp_path: Path, capsys, stride: int) -> None:
    whole = tmp_path / "whole" / "out"
    DISK.watch(whole.parent)
    assert main(VERBS[verb](streets, whole)) == 0
    wanted, calls = files(whole), DISK.calls
    assert calls > 3
    for n in range(1, calls + 1, stride):
        out = tmp_path / str(n) / "out"
        capsys.readouterr()
        DISK.watch(out.parent, failing=n)

        code = main(VERBS[verb](streets, out))

        DISK.watch(None)
        told = capsys.readouterr()
        got = files(out)
        assert code in (0, 1), (n, code)
        assert "Traceback" not in told.out + told.err, n
        assert {name: wanted.get(name) for name in got} == got, n  # each whole, none of its own
        if code == 0:
            assert got == wanted, n
        else:
            assert "No space left on device" in told.out + told.err, n


@pytest.mark.parametrize("verb", VERBS)
def test_a_call_that_fails_leaves_no_half_file_and_no_silent_success(
    verb, streets, tmp_path, capsys
):
    every(verb, streets, tmp_path, capsys, stride={"score": 1, "convert": 5}.get(verb, 11))


@pytest.mark.parametrize("n", [1, 4, 9, pytest.param(0, marks=pytest.mark.slow)])
def test_a_call_that_fails_in_training_leaves_only_whole_checkpoints(streets, tmp_path, capsys, n):
    """`n`: the call that fails; 0: one after the other, until a training has fewer."""
    for failing in [n] if n else range(1, 10_000):
        run = tmp_path / str(failing) / "run"
        DISK.watch(run.parent, failing)

        code = main(["train", *training(streets, run)])

        calls = DISK.calls
        DISK.watch(None)
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err, failing
        assert code == 0 or "No space left on device" in told.err, failing
        for path in run.glob("*.pt"):
            assert checkpoint.load(path)["step"] in (0, 1, 2), failing
        assert not list(run.glob(".~*")), failing
        if calls < failing:
            break


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_call_that_fails_leaves_no_half_file_and_no_silent_success(
    verb, streets, tmp_path, capsys
):
    every(verb, streets, tmp_path, capsys, stride=1)
