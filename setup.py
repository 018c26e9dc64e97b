"""Copies the data folders (conf, datasets, annotation) into the wheel as `perception/_data`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA_FOLDERS = ("conf", "datasets", "annotation")


class BuildWithData(build_py):
    """`build_py`, then the data folders; an editable install reads them at the top instead."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in DATA_FOLDERS:
            target = Path(self.build_lib) / "perception" / "_data" / folder
            shutil.copytree(folder, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
