"""Real voices: the shipped synthetic seed adapted by DP-FedAdam to six people reading digits.

    python benchmarks/real_digits.py MANIFEST

runs `murmur run --recipe recipes/real-digits.toml` on the corpus and writes what happened, round by
round, to benchmarks/real_digits.md and .png. The corpus is not ours to ship: README.md says
where anyone gets such a one.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from curve import draw

HERE = Path(__file__).resolve().parent
PACKAGES = ("flwr", "torch", "torchaudio", "ray", "opacus", "dp-accounting")


def main() -> None:
    """Run, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path, help="manifest.jsonl of the digits corpus")
    manifest = parser.parse_args().manifest.resolve()
    folder = run(manifest)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (HERE / "real_digits.md").write_text(report(metrics, (folder / "summary.txt").read_text()))
    draw(metrics, HERE / "real_digits.png", "Real digits from a synthetic seed")
    print(f"written: {HERE / 'real_digits.md'}")


def run(manifest: Path) -> Path:
    """One run of the recipe; its run folder."""
    murmur = Path(sys.executable).with_name("murmur")
    recipe = HERE.parent / "recipes" / "real-digits.toml"
    setting = f'corpus.path="{manifest}"'
    subprocess.run([murmur, "run", "--recipe", recipe, "--nodes", "6", "--set", setting], check=True)
    return (HERE.parent / "runs" / "latest").resolve()


def report(metrics: list[dict[str, float]], summary: str) -> str:
    """The report as Markdown, without paths of this machine."""
    words = "\n".join(line for line in summary.splitlines() if not line.startswith(("run folder", "try:")))
    rows = "\n".join(
        f"| {line['round']} | {line['loss']:.3f} | {100 * line['wer']:.1f} | {100 * line['cer']:.1f} "
        f"| {line['seconds']:.1f} |"
        for line in metrics
    )
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        "# Real digits\n\n"
        f"`python benchmarks/real_digits.py MANIFEST`, {time.strftime('%Y-%m-%d')}, "
        f"{platform.machine()}, Python {platform.python_version()}, {versions}.\n\n"
        "![curve](real_digits.png)\n\n"
        f"```\n{words.strip()}\n```\n\n"
        "| round | loss | WER % | CER % | seconds |\n|---|---|---|---|---|\n" + rows + "\n"
    )


if __name__ == "__main__":
    main()
