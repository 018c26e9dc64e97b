"""What belongs to the package beside its code: build rules, typing, completion, own settings."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
import setuptools
import yaml

import perception
from perception.cli import VERBS, main

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def build():
    """The functions of setup.py."""
    spec = importlib.util.spec_from_file_location("setup_of_perception", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **_: None)
        patch.setitem(__import__("sys").modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


def test_the_files_that_a_compiler_read_are_known(build):
    rule = "a.o: src/a.cpp src/a\\ b.h \\\n  src/c.h\n"

    assert build.dependencies(rule) == [Path("src/a.cpp"), Path("src/a b.h"), Path("src/c.h")]


def test_a_header_makes_only_those_objects_stale_that_include_it(build, tmp_path):
    jobs = {}
    for name in "ab":
        source, header, made = (tmp_path / f"{name}{end}" for end in (".cpp", ".h", ".o"))
        for path in (source, header, made):
            path.write_text("")
            os.utime(path, (1, 1) if path is not made else (2, 2))
        made.with_suffix(".d").write_text(f"{made}: {source} {header}\n")
        jobs[name] = build.Job(source, made, ["g++", name])
        made.with_suffix(".cmd").write_text(build.digest(jobs[name]))
    assert all(map(build.up_to_date, jobs.values()))

    os.utime(tmp_path / "a.h", (3, 3))

    assert not build.up_to_date(jobs["a"])
    assert build.up_to_date(jobs["b"])
    jobs["b"].object.with_suffix(".d").unlink()
    assert not build.up_to_date(jobs["b"])


def test_the_package_says_that_it_is_typed():
    assert (Path(perception.__file__).parent / "py.typed").is_file()


def test_the_citation_names_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    assert citation["version"] == perception.__version__
    assert f"## {perception.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("line", "word", "reply"),
    [
        ("perception pre", "pre", "predict\nprepare\n"),
        ("perception train opt", "opt", "optimizer=\n"),
        ("perception train encoder=vgg", "vgg", "vgg16\nvgg16_bn\n"),
        ("perception train head/road=mul", "mul", "multinet\n"),
    ],
)
def test_bash_completes_verbs_groups_and_choices(line, word, reply, capsys):
    assert main(["--completion"]) == 0
    script = capsys.readouterr().out
    words = line.split()
    place = 1 if len(words) == 2 else 2
    typed = [*words[:place], word]
    ask = (
        f"{script}\nCOMP_LINE='{line}'; COMP_WORDS=({' '.join(typed)}); COMP_CWORD={place}\n"
        "_perception; printf '%s\\n' \"${COMPREPLY[@]}\""
    )

    told = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False)

    assert told.stdout == reply, told.stderr
    assert all(verb in script for verb in VERBS)


def test_doctor_tells_of_device_processor_memory_extras_and_codecs(capsys):
    assert main(["doctor"]) == 0

    shown = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert {"device", "cpu", "memory", "ops", "extras", "video"} <= set(shown)
    assert "bfloat16" in shown["cpu"]
    assert "torch threads" in shown["cpu"]
    assert "FFmpeg" in shown["video"]
