"""Finding: what is data, what is not, and nothing passed over in silence."""

import os

import pytest

from perception.errors import PerceptionError
from perception.files import files_below, files_in, find_image


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder, suffixes=(".png", ".jpg"), find=files_below):
    return [p.relative_to(folder).as_posix() for p in find(folder, suffixes).files]


def test_suffixes_are_compared_without_case(tmp_path):
    touch(tmp_path, "a.png", "b.PNG", "c.Jpg", "d.txt")

    assert found(tmp_path) == ["a.png", "b.PNG", "c.Jpg"]


def test_what_systems_and_programs_put_beside_data_is_no_data(tmp_path):
    junk = ("._a.png", ".~0-1-x.png", "__MACOSX/a.png", ".ipynb_checkpoints/a-checkpoint.png")
    touch(tmp_path, "a.png", *junk, "sub/.hidden/b.png", "@eaDir/a.png")

    assert found(tmp_path) == ["a.png"]
    assert files_below(tmp_path, (".png",)).hidden == 6


def test_the_folder_that_is_asked_for_may_be_hidden_itself(tmp_path):
    touch(tmp_path / ".cache", "a.png")

    assert found(tmp_path / ".cache") == ["a.png"]


def test_what_is_left_out_is_counted(tmp_path):
    touch(tmp_path, "a.png", "b.txt", "sub/c.TXT", "d.csv", "README", ".e")

    assert files_below(tmp_path, (".png",)).left_out == "2 .txt, 1 without suffix, 1 .csv, 1 hidden"
    assert files_in(tmp_path / "sub", (".txt",)).left_out == ""


def test_linked_folders_are_entered_once_and_loops_end(tmp_path):
    touch(tmp_path / "disk", "one/b.png", "two/c.png")
    data = tmp_path / "data"
    touch(data, "a.png", "real/d.png")
    (data / "aaa").symlink_to(data / "real")  # found by its own path
    (data / "day1").symlink_to(tmp_path / "disk/one")
    (data / "day2").symlink_to(tmp_path / "disk/one")
    (data / "disk").symlink_to(tmp_path / "disk")
    (data / "self").symlink_to(data)
    (data / "up").symlink_to(tmp_path)
    (data / "real" / "back").symlink_to("..")

    assert found(data) == ["a.png", "day1/b.png", "disk/two/c.png", "real/d.png"]


def test_a_folder_without_permission_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "locked/b.png")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PerceptionError, match="locked: found permission denied"):
        files_below(tmp_path, (".png",))


def test_a_missing_folder_is_an_error(tmp_path):
    for find in (files_in, files_below):
        with pytest.raises(PerceptionError, match="absent: found no such file or directory"):
            find(tmp_path / "absent")


def test_a_broken_link_and_a_folder_with_the_name_of_a_file_are_not_passed_over(tmp_path):
    (tmp_path / "a.png").symlink_to("nowhere")
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").symlink_to("c.png")

    assert found(tmp_path) == found(tmp_path, find=files_in) == ["a.png", "b.png", "c.png"]


def test_all_files_of_a_folder_are_files(tmp_path):
    touch(tmp_path, "a", "sub/b.txt")

    assert found(tmp_path, ("",)) == ["a", "sub/b.txt"]


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.jpeg", "a.Jpg"])
def test_an_image_is_found_by_its_stem_whatever_the_case_of_its_suffix(tmp_path, name):
    touch(tmp_path, name, "A.gif", "ab.png")

    assert find_image(tmp_path, "a") == tmp_path / name
    assert find_image(tmp_path, "b") is None
    assert find_image(tmp_path / "absent", "a") is None


def test_two_images_of_one_name_are_an_error_that_names_them(tmp_path):
    touch(tmp_path, "a.png", "a.JPG")

    with pytest.raises(PerceptionError, match=r"a\.JPG and a\.png"):
        find_image(tmp_path, "a")
