"""The import contracts of pyproject.toml speak of every package that there is, and of no other."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
PACKAGE = ROOT / "perception"


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _parts() -> set[str]:
    """Every package and module right below `perception`."""
    names = {p.stem for p in PACKAGE.glob("*.py")} | {
        p.parent.name for p in PACKAGE.glob("*/__init__.py")
    }
    return {f"perception.{name}" for name in names if not name.startswith("_")}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c["name"])
def test_a_contract_names_only_what_exists(contract):
    named = [*contract.get("source_modules", ()), *contract.get("forbidden_modules", ())]
    for layer in contract.get("layers", ()):
        named += layer.replace("|", " ").replace(":", " ").split()
    assert named
    assert [n for n in named if n.startswith("perception") and not _exists(n)] == []


def _contract(word: str) -> dict:
    (found,) = (c for c in CONTRACTS if word in c["name"])
    return found


def test_the_ops_are_held_apart_from_everything_else():
    forbidden = set(_contract("ops know")["forbidden_modules"])
    assert _parts() - forbidden == {"perception.ops"}


def test_every_algorithm_of_a_benchmark_is_held_apart_from_files_and_reports():
    """Whatever imports neither a reader nor a report itself has to be in the contract."""
    held = set(_contract("algorithm")["source_modules"])
    telling = {"files", "labels", "raw_files", "pixel_files", "instance_files", "panoptic_files"}
    telling |= {"frames", "images", "result", "submission", "__init__"}
    for path in (PACKAGE / "evaluation").glob("*/*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        assert (module in held) != (path.stem in telling), module


def test_no_two_test_files_share_a_name():
    """Pytest imports test files by their bare names; two of one name stop the whole suite."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
