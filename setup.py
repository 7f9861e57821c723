"""Puts the Flower app's pyproject.toml into the wheel: an ordinary install has its defaults from there."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithApp(build_py):
    """`build_py`, and a copy of pyproject.toml as recipes/app.toml."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            shutil.copyfile(
                Path(__file__).with_name("pyproject.toml"), Path(self.build_lib) / "recipes" / "app.toml"
            )


setup(cmdclass={"build_py": BuildWithApp})
