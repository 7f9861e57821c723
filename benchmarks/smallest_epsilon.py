"""The smallest run found whose own epsilon is below 8: `python -m benchmarks.smallest_epsilon`, two minutes.

It runs recipes/run/smallest-epsilon.toml; NOTES.md has the search that led to it.
"""

from benchmarks.recipe_run import record

if __name__ == "__main__":
    record(
        "smallest_epsilon",
        "The smallest run with a true epsilon below 8",
        recipe="smallest-epsilon",
        nodes=2,
    )
