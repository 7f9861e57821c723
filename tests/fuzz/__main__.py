"""The long fuzzing: `python -m tests.fuzz [--times N] [--seed S] [pytest's arguments]`; minutes.

Each target's full number of mutated inputs, `--times` over, from a seed that is drawn unless it is given.
"""

import argparse
import os
import secrets
import sys

from tests.fuzz.counts import SEED, TIMES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--times", type=int, default=1, help="how often the full number")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="to see a failure again")
    chosen, others = parser.parse_known_args()
    os.environ[TIMES], os.environ[SEED] = str(chosen.times), str(chosen.seed)
    print(f"fuzzing: {chosen.times} times the full number, --seed {chosen.seed}", flush=True)
    # This package has read the environment already: pytest is to have a process that has not.
    command = [sys.executable, "-m", "pytest", "tests/fuzz", "--override-ini", "timeout=0", *others]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    sys.exit(main())
