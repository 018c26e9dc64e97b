"""Writing: whole or not at all, into what is there, and nothing left behind."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perception.errors import PerceptionError
from perception.files import atomic, atomic_open, atomic_path, files_below, write_text


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_temporary_file_is_no_data_for_any_reader(tmp_path):
    for name in ("a.png", "a.json", "a.txt", "a.pt"):
        with atomic_path(tmp_path / name) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.name.startswith(".~") and temporary.suffix == ".tmp"
            assert temporary not in files_below(tmp_path).files


def test_the_next_writer_removes_what_a_killed_process_left(tmp_path):
    code = "import os, sys; from pathlib import Path; from perception.files import atomic_path\n"
    code += "with atomic_path(Path(sys.argv[1])) as t: t.write_text('half'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.json"], check=False)
    assert len(names(tmp_path)) == 1 and names(tmp_path)[0].endswith(".tmp")

    write_text(tmp_path / "b.json", "{}")

    assert names(tmp_path) == ["b.json"]


def test_temporary_files_of_living_processes_stay(tmp_path):
    alive = tmp_path / f".~a.{atomic._HOST}-{os.getppid()}-abcdefgh.tmp"
    elsewhere = tmp_path / ".~a.b.00000000-1-abcdefgh.tmp"
    for path in (alive, elsewhere):
        path.touch()

    write_text(tmp_path / "b.json", "{}")

    assert names(tmp_path) == sorted([alive.name, elsewhere.name, "b.json"])


def test_what_has_lain_there_for_days_is_removed_and_nothing_else(tmp_path):
    old = tmp_path / ".~a.b.00000000-1-abcdefgh.tmp"
    kept = [tmp_path / ".~lock.a.odt#", tmp_path / ".hidden.tmp", tmp_path / "~a.tmp"]
    for path in (old, *kept):
        path.touch()
        os.utime(path, (time.time() - 1e6,) * 2)

    write_text(tmp_path / "b.json", "{}")

    assert names(tmp_path) == sorted([*(p.name for p in kept), "b.json"])


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    write_text(pipe, "text")

    reader.join()
    assert read == [b"text"] and stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("into", ["file", "pipe"])
def test_standard_output_is_written_into_at_its_place(tmp_path, name, into):
    if not Path("/proc/self/fd").exists() and name.startswith("/proc"):
        pytest.skip("no /proc here")
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = "import sys; from pathlib import Path; from perception.files import write_text\n"
    code += f"print('a'); write_text(Path({name!r}), 'b\\n'); print('c')"
    target = tmp_path / "out.txt"
    with target.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=file if into == "file" else subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
        )

    assert (target.read_bytes() if into == "file" else done.stdout) == b"a\nb\nc\n"
    assert (tmp_path / "link").is_symlink()


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    link, chain, dangling = tmp_path / "link", tmp_path / "chain", tmp_path / "dangling"
    link.symlink_to("there/a.txt")
    chain.symlink_to("link")
    dangling.symlink_to("there/new.txt")

    for path in (chain, dangling):
        write_text(path, path.name)
        assert path.is_symlink() and path.read_text() == path.name
    assert names(tmp_path / "there") == ["a.txt", "new.txt"]


def test_the_mode_of_a_file_is_kept_and_a_new_one_follows_the_umask(tmp_path):
    for mode in (0o600, 0o640, 0o444, 0o755):
        path = tmp_path / f"{mode:o}"
        path.touch()
        path.chmod(mode)
        write_text(path, "x")
        assert stat.S_IMODE(path.stat().st_mode) == mode
    write_text(tmp_path / "new", "x")
    (tmp_path / "plain").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("call", ["chmod", "chown", "fchmod"])
def test_a_file_system_without_modes_is_written_to(tmp_path, monkeypatch, call):
    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, call, refused)
    monkeypatch.setattr(Path, "chmod", refused)
    write_text(tmp_path / "a", "x")
    write_text(tmp_path / "a", "y")

    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "y"


def test_file_and_folder_are_synced_around_the_rename(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle):
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", lambda a, b: (events.append("rename"), replace(a, b)))
    write_text(tmp_path / "a", "x")

    assert events == ["file", "rename", "folder"]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    sync = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a", "x")

    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["a" * 255, "😀" * 63, "a." + "b" * 200])
def test_the_longest_names_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "x")

    assert names(tmp_path) == [name]


def test_what_cannot_be_written_is_one_error_and_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    for name in ("folder", "file/a", "loop", "nul\0l", "a" * 256):
        with pytest.raises(PerceptionError, match="cannot write"):
            write_text(tmp_path / name, "x")
    assert names(tmp_path) == before


def test_an_error_or_a_stop_in_the_middle_leaves_nothing(tmp_path):
    for kind in (ValueError, KeyboardInterrupt):
        with pytest.raises(kind), atomic_open(tmp_path / "a") as file:
            file.write(b"half")
            raise kind
    assert names(tmp_path) == []
