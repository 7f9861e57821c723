"""The example package of extensions, installed: its names work in a recipe and in a round."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from base.registries import CLIP_RULES
from recipes import checkout

PACKAGE = checkout() / "examples" / "extension_package"
NAMES = {
    "privacy.clip-rule": "by-depth",
    "server.optimiser": "sign-momentum",
    "server.optimiser-settings": "dead_zone=1e-6",
    "server.schedule": "inverse-root",
}
# A recipe with the three names, then a round in this process with what the recipe makes.
PROGRAM = """
import json, sys
from pathlib import Path

import torch

from cli.composing import default_config
from privacy import Ledger, PrivacyPlan
from recipes import RunConfig
from server.factory import make_bounds, make_server_step
from strategies import (
    GlobalModel, Mechanism, PopulationIndex, ServerStep, StreamingGrid, TrainingRun, strategy_class,
)
from tests.strategies.federation import LAYOUT, honest
from tests.strategies.flower import FakeGrid

config = RunConfig.from_flat({**default_config(), **json.loads(sys.argv[1])})
bounds, quantiser = make_bounds(config.privacy, LAYOUT)
optimiser, schedule = make_server_step(config.server, LAYOUT)
plan = PrivacyPlan(population=4, cohort=4.0, rounds=4, noise_multiplier=0.01, delta=1e-3)
strategy = strategy_class(config.server.optimiser)(
    model=GlobalModel(vector=torch.zeros(LAYOUT.size), layout=LAYOUT),
    mechanism=Mechanism(plan=plan, bounds=bounds, quantiser=quantiser),
    server_step=ServerStep(optimiser=optimiser, learning_rate=0.5, schedule=schedule),
    run=TrainingRun(
        population_index=PopulationIndex.of({1: 4}),
        ledger=Ledger.open(Path(sys.argv[2]) / "ledger.jsonl"), dataset="d", run_id="r",
    ),
)
node = honest(lambda number: torch.ones(LAYOUT.size))
strategy.start(StreamingGrid(FakeGrid({1: node})), strategy.arrays(), num_rounds=1, timeout=60.0)
print(json.dumps({
    "strategy": type(strategy).__name__,
    "bounds": bounds.bounds[: bounds.model_slices],
    "sizes": LAYOUT.sizes,
    "exponent": config.privacy.clip_exponent,
    "dead zone": optimiser.dead_zone,
    "rates": [schedule(number, 4) for number in (1, 4)],
    "model": sorted(set(strategy.vector.tolist())),
    "answered": strategy.last_report.nodes_answered,
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package, as pip installs it; nothing is built in the checkout."""
    place = tmp_path_factory.mktemp("extension")
    shutil.copytree(PACKAGE, place / "source")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", place / "target")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    subprocess.run([*map(str, command), str(place / "source")], check=True, cwd=place)
    return place / "target"


def python(program, *arguments, path):
    """Run a program of this environment, in which `path` is installed too."""
    paths = os.pathsep.join([str(path), str(checkout())])
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_recipe_names_its_extensions_and_a_round_uses_them(installed, tmp_path):
    done = python(PROGRAM, json.dumps(NAMES), tmp_path, path=installed)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["strategy"], found["answered"]) == ("DPFedOpt", 1)
    relative = [size**0.5 / depth ** found["exponent"] for depth, size in enumerate(found["sizes"], start=1)]
    ratios = [bound / weight for bound, weight in zip(found["bounds"], relative, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert found["dead zone"] == 1e-6
    assert found["rates"] == pytest.approx([1.0, 0.5])
    assert found["model"] == [-0.5]  # a step against every coordinate's sign


def test_an_unknown_name_is_refused_with_those_of_the_package(installed):
    code = "from base.registries import CLIP_RULES; CLIP_RULES['by-width']"
    done = python(code, path=installed)
    assert "unknown clip rule 'by-width'; known are 'by-depth', 'dim', 'global'" in done.stderr
    assert "by-depth" not in CLIP_RULES  # this process has not installed it
