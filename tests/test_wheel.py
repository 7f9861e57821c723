"""The wheel, in an empty environment and an empty folder: what a user without the checkout has."""

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from recipes import checkout
from tests.processes import environment

QUICK = (
    "training.rounds=1 training.cohort=40 corpus.path=2000x2@3f9a privacy.population=2000 "
    "privacy.delta=1e-4 privacy.bands=1"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A virtual environment with our wheel, beside the packages that the tests run with."""
    place = tmp_path_factory.mktemp("wheel")
    run = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = (
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        place / "dist",
        source(place / "source"),
    )
    subprocess.run([*run, *map(str, built)], check=True, cwd=place)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    (wheel,) = (place / "dist").glob("murmuration-*.whl")
    python = place / "venv" / "bin" / "python"
    target = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # A path in a .pth file: its packages are found, the .pth files in it (our editable install) are not read.
    Path(target, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [*run, "--python", python, "install", "--ignore-installed", "--no-deps", "--no-index", wheel],
        check=True,
        cwd=place,
    )
    return place


def source(copy: Path) -> Path:
    """What git knows of the checkout, without what was built in it."""
    root = checkout()
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (file := root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(file.read_bytes())
    return copy


def murmur(installed: Path, folder: Path, *words: object, seconds: float = 200) -> str:
    folder.mkdir(exist_ok=True)
    own = {
        **environment(folder / "home"),
        "PATH": f"{installed / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    own.pop("PYTHONPATH", None)
    done = subprocess.run(
        [installed / "venv" / "bin" / "murmur", *map(str, words)],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_defaults_are_listed(installed, tmp_path):
    assert "privacy.noise-multiplier" in murmur(installed, tmp_path / "empty", "recipe")


@pytest.mark.federation
def test_a_run_does_the_main_job(installed, tmp_path):
    said = murmur(
        installed,
        tmp_path / "empty",
        "run",
        "--nodes",
        2,
        *(word for one in QUICK.split() for word in ("--set", one)),
    )
    assert "held-out WER" in said and "in 1 round " in said
    card = murmur(installed, tmp_path / "empty", "card")
    assert "epsilon" in card


def test_the_flower_app_can_be_written_and_is_the_checkouts(installed, tmp_path):
    murmur(installed, tmp_path / "empty", "app", tmp_path / "app")
    app = tomllib.loads((tmp_path / "app" / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert app == tomllib.loads((checkout() / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    theirs, ours = (
        {
            file.relative_to(root): file.read_bytes()
            for room in rooms(app)
            for file in (root / room).rglob("*.py")
        }
        for root in (tmp_path / "app", checkout())
    )
    assert theirs == ours


def rooms(app):
    return {pattern.split("/")[0] for pattern in app["fab-include"]}
