"""What pyproject.toml promises to pip, to Flower and to uv."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError

from base import release
from recipes import checkout

PYPROJECT = tomllib.loads((checkout() / "pyproject.toml").read_text())


def names(requirements):
    return {re.split(r"[\s\[<>=!~;]", requirement)[0] for requirement in requirements}


def test_flower_finds_nothing_to_install_at_run_time():
    project = PYPROJECT["project"]
    needed = names(project["dependencies"]).union(*map(names, project["optional-dependencies"].values()))
    assert needed == set(PYPROJECT["tool"]["uv"]["exclude-dependencies"])


def test_every_dependency_has_its_exact_version_in_the_constraints():
    pinned = dict(
        line.split("==")
        for line in (checkout() / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    known = {name.lower().replace("_", "-") for name in pinned}
    assert set(PYPROJECT["tool"]["uv"]["exclude-dependencies"]) <= known


def test_the_release_is_known_where_the_package_is_not_installed(monkeypatch):
    """As in a container, where the app's code comes in Flower's bundle."""

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(release, "version", absent)
    assert release.release() == PYPROJECT["project"]["version"]


def test_no_shipped_data_and_every_room_of_the_apps_travels_in_the_bundle():
    included = PYPROJECT["tool"]["flwr"]["app"]["fab-include"]
    rooms = {"base", "client", "optim", "privacy", "recipes", "server", "speech", "strategies", "wire"}
    assert {pattern.split("/")[0] for pattern in included} == rooms
