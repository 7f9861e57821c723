"""Real voices: the shipped synthetic seed adapted by DP-FedAdam to six speakers who read digits.

`python -m benchmarks.real_digits MANIFEST` runs recipes/run/real-digits.toml on the corpus of that manifest.
The corpus is not ours to ship: README.md says where anyone gets such a one.
"""

import sys
from pathlib import Path

from benchmarks.recipe_run import record

if __name__ == "__main__":
    (manifest,) = sys.argv[1:]
    record(
        "real_digits",
        "Real digits from a synthetic seed",
        recipe="real-digits",
        nodes=6,
        settings=[f'corpus.path="{Path(manifest).resolve()}"'],
    )
