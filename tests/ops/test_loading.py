"""What the environment variables of the compiled ops do: right words, wrong words, too much."""

import os
import subprocess
import sys
import warnings

import pytest

from perception.ops import _native


@pytest.fixture
def machine(monkeypatch):
    """`machine("avx2")`: the library is there and runs that variant."""

    def pretend(isa: str) -> None:
        monkeypatch.setattr(_native, "LIBRARY", _native.HERE / "__init__.py")
        monkeypatch.setattr(_native.torch.ops, "load_library", lambda _: None)
        function = type("Function", (), {"__call__": lambda _: isa.encode()})()
        library = type("Library", (), {"perception_isa": function})()
        monkeypatch.setattr(_native.ctypes, "CDLL", lambda _: library)

    return pretend


@pytest.mark.parametrize("variable", ["PERCEPTION_ISA", "PERCEPTION_NATIVE"])
@pytest.mark.parametrize("value", ["axv2", "AVX512", "1", "no"])
def test_a_word_that_is_none_is_an_error_that_names_the_right_ones(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    with pytest.raises(ImportError, match=rf"{variable} is '{value}', expected (auto|base), "):
        _native.load()


@pytest.mark.parametrize(
    ("wanted", "has"), [("avx512", "avx2"), ("avx512", "base"), ("avx2", "base")]
)
def test_more_than_the_machine_has_is_noticed(monkeypatch, machine, wanted, has):
    machine(has)
    monkeypatch.setenv("PERCEPTION_ISA", wanted)

    with pytest.warns(RuntimeWarning, match=f"PERCEPTION_ISA={wanted} .* {has} runs"):
        status = _native.load()

    assert status.native and status.isa == has


@pytest.mark.parametrize("wanted", ["base", "avx2", "", None])
def test_as_much_or_less_is_silent(monkeypatch, machine, wanted):
    machine(wanted or "avx512")
    monkeypatch.delenv("PERCEPTION_ISA", raising=False)
    if wanted is not None:
        monkeypatch.setenv("PERCEPTION_ISA", wanted)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _native.load().native


@pytest.mark.parametrize("mode", ["auto", "off", "required", None])
def test_a_library_that_is_not_there(monkeypatch, tmp_path, mode):
    monkeypatch.setattr(_native, "LIBRARY", tmp_path / "none.so")
    monkeypatch.delenv("PERCEPTION_NATIVE", raising=False)
    if mode is not None:
        monkeypatch.setenv("PERCEPTION_NATIVE", mode)

    if mode == "required":
        with pytest.raises(ImportError, match="no native ops"):
            _native.load()
    elif mode == "off":
        assert _native.load().why == "PERCEPTION_NATIVE=off is set"
    else:
        with pytest.warns(RuntimeWarning, match="runs the PyTorch reference"):
            assert not _native.load().native


def test_doctor_says_a_wrong_word_in_one_line():
    environment = {**os.environ, "PERCEPTION_ISA": "sse"}
    words = [sys.executable, "-m", "perception", "doctor"]

    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)

    assert "PERCEPTION_ISA is 'sse'" in done.stdout and "Traceback" not in done.stderr
