"""Nothing that decides privacy draws from a generator that can be seeded, in any module of the rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Noise that a seed repeats, for runs that are marked as not private.
NOT_PRIVATE = ROOT / "privacy" / "noise" / "seeded.py"
MODULES = sorted(
    {
        file
        for room in ("base", "optim", "privacy", "strategies", "wire")
        for file in (ROOT / room).glob("**/*.py")
    }
    - {NOT_PRIVATE}
)
GENERATORS = {"random", "numpy.random", "torch.random", "torch.distributions"}
ORDINARY = {
    *("random", "distributions", "Generator", "RandomState", "default_rng", "manual_seed", "seed"),
    *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "normal"),
    *("poisson", "bernoulli", "multinomial", "binomial", "dropout", "standard_normal", "permutation"),
    *("shuffle", "choice", "normal_", "uniform_", "bernoulli_", "random_", "exponential_", "cauchy_"),
    *("geometric_", "log_normal_"),
}


def violations(source: str) -> list[str]:
    """Every use of an ordinary generator in a module's source: as an import, a name or an attribute."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name in GENERATORS]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module)] * (node.module in GENERATORS)
            found += [name.name for name in node.names if name.name in ORDINARY]
        elif isinstance(node, ast.Attribute) and node.attr in ORDINARY:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: f"{module.parent.name}/{module.name}")
def test_module_uses_no_ordinary_randomness(module: Path) -> None:
    assert violations(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import choice",
        "from numpy import random",
        "from torch import randn as draw",
        "np.random.rand(3)",
        "np.random.Generator(bits)",
        "x.normal_()",
        "x.exponential_(1.0)",
        "torch.randn(3)",
        "torch.rand_like(x)",
        "torch.normal(0.0, 1.0, (3,))",
        "torch.distributions.Normal(0, 1).sample()",
        "nn.functional.dropout(x)",
    ],
)
def test_the_search_finds_what_it_should(source: str) -> None:
    assert violations(source)


def test_repeatable_noise_is_known_to_the_strategy_alone() -> None:
    """Only the strategy adds it, and only under a plan that is marked as not private."""
    assert violations(NOT_PRIVATE.read_text())
    rooms = ("base", "cli", "client", "optim", "privacy", "recipes", "server", "speech", "strategies", "wire")
    users = [
        path
        for room in rooms
        for path in (ROOT / room).glob("**/*.py")
        if "SeededGaussian" in path.read_text() and path != NOT_PRIVATE
    ]
    assert users == [ROOT / "strategies" / "dp_fed_opt.py"]
