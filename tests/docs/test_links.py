"""Every page leads somewhere: links, repository paths and verbs that pages name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perception.cli import VERBS
from tests.shared import ROOT

FOLDERS = ("docs", "datasets", "perception", "annotation", "conf")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("*.md"))),
]
TOPS = ("perception/", "docs/", "tests/", "scripts/", "conf/", "datasets/", "annotation/")
READERS = re.compile(r"(conf|datasets)/.*\b(mine|own|campus|two)\b.*")  # names that readers choose
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_of_a_page_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_path_that_a_page_names_exists(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for name in re.findall(r"`([\w./-]+)`", text):
        if name.startswith(TOPS) and not READERS.match(name) and "..." not in name:
            assert _exists(page, name), name


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_verb_and_experiment_that_a_page_names_exists(page):
    text = page.read_text()
    for verb in re.findall(r"(?<!from )\bperception ([a-z]+(?:-[a-z]+)*)(?=[`\s])", text, re.M):
        assert verb in VERBS, verb
    for name in re.findall(r"\bexperiment=(\w+)", text):
        path = f"conf/experiment/{name}.yaml"
        assert READERS.match(path) or (ROOT / path).is_file(), name


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text()))
    assert {str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md")} <= linked


def _exists(page: Path, name: str) -> bool:
    return any((base / name).exists() for base in (ROOT, ROOT / "perception", page.parent))
