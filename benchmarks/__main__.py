"""All measurements that need no argument and no GPU, and the table of what they found: `make bench`.

Each script runs in a process of its own and rewrites its page. One that fails, or takes too long, is shown as
failed, and the others go on. `python -m benchmarks NAME ...` runs some and keeps what is known of the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Ratio, conditions, table
from cli.processes import QUIET

HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 400.0
SCRIPTS = (
    *("server_step", "aggregation", "noise", "memory", "population", "growth"),
    *("traffic", "object_store", "feature_cache", "local_training", "start_up"),
)
BY_HAND = {
    "simulation": "a round beside a bare loop, Flower's strategy and pfl: a quarter of an hour",
    "many_nodes": "1,000 nodes in a round, beside a bare loop and Flower's own: a quarter of an hour",
    "ray_cluster": "one run on Ray clusters of 1, 2, 4 and 8 nodes: the same model; a quarter of an hour",
    "round_parts": "where a round's processor time goes, by processes: ten minutes",
    "simulation_adapters": "a round of adapters on Whisper beside a bare loop; needs the model, some minutes",
    "scale": "what rounds of the paper's cohorts cost, predicted and checked at two sizes: some minutes",
    "large_model": "255.8 M parameters through gRPC: a quarter of an hour, 16 GiB of memory",
    "decoding": "beam search and language models; real digits need a corpus",
    "first_run": "what `murmur run` does, three times: a quarter of an hour",
    "whisper_adapt": "Whisper tiny.en adapted to an accent, 3 seeds; needs the model, a corpus and 1.5 hours",
    "whisper_private": "Whisper beside our own model, epsilon below 8; needs the model and half an hour",
    "adapter_training": "client updates of Whisper with adapters beside plain loops; needs model and corpus",
    "pretrained_gpu": "client updates of Whisper and of the paper's model on a GPU; at toy size without one",
    "smallest_epsilon": "the smallest such run found that gains 3 points of WER: two minutes",
    "real_digits": "a federation on real voices; needs a corpus",
    "central_training": "central training on real voices; needs corpora",
    "evaluation_at_size": "the 255.8 M model on an hour of noise: a quarter of an hour on two cores",
    "report_size": "`murmur report` of 2,000 rounds and 300 tensors; needs Chromium, a minute",
    "soak": "a compose federation under faults for two hours (docker/soak.sh); root, a Docker engine",
}


def run(name: str, number: int, of: int) -> str:
    """Run a script, the `number`-th `of` all; returns how it failed, or nothing."""
    print(f"\n--- {number} of {of}: {name}", flush=True)
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"],
            cwd=HERE.parent,
            env={**os.environ, **QUIET},
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {LIMIT_SECONDS:g} s"
    print(f"--- {name}: {time.monotonic() - began:.0f} s", flush=True)
    if not done.returncode:
        return ""
    print(done.stderr, file=sys.stderr)
    return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]


def rows_of(name: str, failure: str) -> list[tuple[str, ...]]:
    """The table's rows of one script."""
    page, kept = f"[{name}]({name}.md)", HERE / f"{name}.json"
    if failure:
        return [(page, f"**failed**: {failure.replace('|', ' ')}", "", "", "", "")]
    if not (HERE / f"{name}.md").exists():
        return [(page, "not measured yet", "", "", "", "")]
    if not kept.exists():
        return [(page, "see there", "", "", "", "")]
    known = json.loads(kept.read_text(encoding="utf-8"))
    ratios = [Ratio(**one) for one in known["ratios"]]
    when = known["measured"].removeprefix("- ").partition(",")[0]
    return [(page, one.name, f"{one.value:.3g}", one.goal, one.verdict, when) for one in ratios]


def readme(failures: dict[str, str]) -> str:
    """The page that gathers all others."""
    rows = [("page", "what", "measured", "goal", "", "when")]
    for name in SCRIPTS:
        rows += rows_of(name, failures.get(name, ""))
    pictures = [f"![{name}]({name}.png)" for name in SCRIPTS if (HERE / f"{name}.png").exists()]
    others = [f"- [{name}]({_page(name)}): {what}" for name, what in BY_HAND.items()]
    parts = ["# Measured side by side", INTRODUCTION, conditions(), table(rows), *pictures]
    return "\n\n".join([*parts, "## By hand", "\n".join(others)]) + "\n"


def _page(name: str) -> str:
    """The page of a script; the script itself where it has none yet."""
    return f"{name}.md" if (HERE / f"{name}.md").exists() else f"{name}.py"


INTRODUCTION = """`make bench` measures all of this anew and rewrites the page. A ratio is that of two things
measured in one run on one machine; a number of seconds or bytes says so. [NOTES.md](NOTES.md) has what was
tried."""


def main() -> int:
    """Run the scripts named on the command line, or all, and write benchmarks/README.md."""
    names = sys.argv[1:] or SCRIPTS
    if unknown := sorted(set(names) - set(SCRIPTS)):
        sys.exit(f"no such benchmarks: {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
    ran = {name: run(name, number, len(names)) for number, name in enumerate(names, start=1)}
    failures = {name: failure for name, failure in ran.items() if failure}
    (HERE / "README.md").write_text(readme(failures), encoding="utf-8")
    for name, failure in failures.items():
        print(f"{name} failed: {failure}", file=sys.stderr)
    print(f"-> {HERE / 'README.md'}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
