"""A run whose own epsilon is below 8, on a laptop: `python -m benchmarks.true_epsilon`.

It runs recipes/laptop-epsilon.toml: 100,000 synthetic speakers, each made when it is drawn.
"""

from benchmarks.recipe_run import record

if __name__ == "__main__":
    record("true_epsilon", "A true epsilon below 8", recipe="laptop-epsilon", nodes=2)
