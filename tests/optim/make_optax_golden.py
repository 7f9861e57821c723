"""Make optax_golden.json: the results of optax, the library of the paper's authors, for `trajectories`.

optax needs JAX, too heavy for a test dependency, so its results are kept and this is how they were made:
pip install optax==0.2.8 jax==0.10.2, then python -m tests.optim.make_optax_golden
"""

import json
from pathlib import Path

import jax
import optax

from tests.optim.trajectories import STEPS, flat, gradient, learning_rate, start

jax.config.update("jax_enable_x64", True)

CASES = {
    "lamb": (optax.lamb, {"b1": 0.9, "b2": 0.999, "eps": 1e-6}),
    "lamb, decay": (optax.lamb, {"b1": 0.8, "b2": 0.99, "eps": 1e-2, "weight_decay": 0.1}),
    "lars": (optax.lars, {"weight_decay": 0.0, "trust_coefficient": 0.001, "momentum": 0.9}),
    "lars, decay": (optax.lars, {"weight_decay": 0.1, "trust_coefficient": 0.02, "momentum": 0.5}),
    "yogi": (optax.yogi, {"b1": 0.9, "b2": 0.999, "eps": 1e-3}),
    "adam": (optax.adam, {"b1": 0.9, "b2": 0.99, "eps": 1e-6}),
    "sgd": (optax.sgd, {"momentum": 0.9}),
}


def run(make, settings) -> list[float]:
    """The weights after the last step."""
    optimiser = optax.inject_hyperparams(make)(learning_rate=learning_rate(0), **settings)
    weights = jax.tree.map(jax.numpy.asarray, start())
    state = optimiser.init(weights)
    for step in range(STEPS):
        state.hyperparams["learning_rate"] = jax.numpy.asarray(learning_rate(step))
        updates, state = optimiser.update(jax.tree.map(jax.numpy.asarray, gradient(step)), state, weights)
        weights = optax.apply_updates(weights, updates)
    return flat(weights).tolist()


if __name__ == "__main__":
    golden = {"optax": optax.__version__, **{name: run(*case) for name, case in CASES.items()}}
    Path(__file__).with_name("optax_golden.json").write_text(json.dumps(golden, indent=1) + "\n")
