"""Nothing that decides privacy draws from a generator that can be seeded, in any module of the rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Noise that a seed repeats, for runs that say of themselves that they are not private.
NOT_PRIVATE = ROOT / "privacy" / "seeded_noise.py"
MODULES = sorted(
    {*(ROOT / "privacy").glob("**/*.py"), *(ROOT / "strategies").glob("**/*.py")} - {NOT_PRIVATE}
)
FORBIDDEN_IMPORTS = {"random", "numpy.random"}
ALLOWED = {"np.random.Generator"}
FORBIDDEN_NAMES = {
    "default_rng",
    "RandomState",
    "manual_seed",
    "randn",
    "randint",
    "randperm",
    "rand",
    "randn_like",
}
FORBIDDEN_METHODS = {"normal_", "uniform_", "bernoulli_", "random_", "bernoulli", "multinomial", "seed"}


def violations(source: str) -> list[str]:
    """Every use of an ordinary generator in a module's source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module)] * (node.module in FORBIDDEN_IMPORTS)
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            ordinary = node.attr in FORBIDDEN_NAMES | FORBIDDEN_METHODS or name.startswith("np.random.")
            found += [name] * (ordinary and name not in ALLOWED)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: f"{module.parent.name}/{module.name}")
def test_module_uses_no_ordinary_randomness(module: Path) -> None:
    assert violations(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["import random", "from random import choice", "np.random.rand(3)", "x.normal_()", "torch.randn(3)"],
)
def test_the_search_finds_what_it_should(source: str) -> None:
    assert violations(source)


def test_repeatable_noise_is_known_to_the_strategy_alone() -> None:
    """Only there can it not be had without the plan's stamp."""
    assert violations(NOT_PRIVATE.read_text())
    rooms = ("cli", "client", "privacy", "recipes", "server", "speech", "strategies")
    users = [
        path
        for room in rooms
        for path in (ROOT / room).glob("**/*.py")
        if "seeded_noise" in path.read_text() and path != NOT_PRIVATE
    ]
    assert users == [ROOT / "strategies" / "dp_fed_opt.py"]
