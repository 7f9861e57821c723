"""Whisper tiny.en beside our own model, both with a true epsilon below 8.

    python -m benchmarks.whisper_private MODEL

MODEL is a folder of Whisper tiny.en in Hugging Face's layout. `recipes/run/first-run.toml` (our own model,
from the shipped seed) and `recipes/run/whisper-private.toml` (adapters) run one after the other, each on
100,000 synthetic speakers of its own; both are tested on the same held-out speakers.

Goals: epsilon at most 8 and no larger than our own model's, by both accountants; a lower WER, the interval of
the difference below zero; at most an hour on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.curve import draw_together
from benchmarks.outcomes import Outcome, difference
from benchmarks.recipe_run import Run
from benchmarks.report import conditions, table
from cli.composing import config_of_run
from speech.corpora.loading import load_corpus
from speech.model.checkpoint import load_model
from speech.model.choice import ModelChoice
from speech.text import ENGLISH

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes" / "run"
NODES = "2"
MOST_EPSILON, MOST_SECONDS = 8.0, 3600.0
TITLE = "Whisper tiny.en and our own tiny model, with a true epsilon below 8"
TITLES = ("model", "trained parameters", "WER %", "epsilon", "RDP", "PLD", "wall s", "processor s")


def trained(recipe: str, settings: Sequence[str], place: Path) -> tuple[Run, Outcome, int]:
    """Run a recipe; return it, its word errors on the test speakers, and how many parameters it trained."""
    words = [word for each in settings for word in ("--set", each)]
    run = Run.of(["--recipe", str(RECIPES / f"{recipe}.toml"), "--nodes", NODES, *words], place)
    folder = (place / "latest").resolve()
    loaded, config = load_model(folder / "model.safetensors"), config_of_run(folder)
    corpus = load_corpus(config.corpus.kind, config.corpus.path)
    return run, Outcome.of(loaded.model, corpus, run.wall_seconds), parameters(run.summary)


def parameters(summary: str) -> int:
    """The trained parameters, as a run's summary states them."""
    line = next(line for line in summary.splitlines() if " trained of " in line)
    return int(line.partition(" trained of ")[0].rsplit(None, 1)[-1].replace(",", ""))


def row(name: str, run: Run, outcome: Outcome, size: int) -> tuple[str, ...]:
    """One model's line of the table."""
    found = run.epsilon
    return (
        name,
        f"{size:,}",
        f"{100 * run.metrics[0]['wer']:.1f} -> {outcome.wer:.1f}",
        *(f"{value:.3f}" for value in (found.value, found.rdp, found.pld or float("inf"))),
        f"{run.wall_seconds:.0f}",
        f"{run.processor_seconds:.0f}",
    )


def main() -> None:
    """Run both and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the folder of Whisper tiny.en")
    model = parser.parse_args().model.resolve()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        ours = trained("first-run", [], Path(first))
        whisper = trained("whisper-private", [f'model.name="{model}"'], Path(second))
    base = ModelChoice(name=str(model)).make(ENGLISH).eval()
    untouched = Outcome.of(base, load_corpus("synthetic", whisper[0].corpus))
    rows = [TITLES, row("our own, tiny", *ours), row("Whisper tiny.en, adapters", *whisper)]
    rows.append(("Whisper tiny.en, untouched, padded", "0", f"{untouched.wer:.1f}", *([""] * 5)))
    draw_together(
        {"our own, tiny": ours[0].metrics, "Whisper tiny.en, adapters": whisper[0].metrics},
        HERE / "whisper_private.png",
        TITLE,
    )
    parts = [
        f"# {TITLE}",
        f"{conditions()}\n- `murmur run --nodes {NODES} --recipe`: `recipes/run/first-run.toml`, then "
        "`recipes/run/whisper-private.toml`",
        "![curves](whisper_private.png)",
        table(rows),
        verdict(ours, whisper),
        *whisper[0].words_and_rounds(),
        "`python -m benchmarks.whisper_private MODEL` makes this page.",
    ]
    page = "\n\n".join(parts).replace(str(model), model.name)  # without paths of this machine
    (HERE / "whisper_private.md").write_text(page + "\n", encoding="utf-8")


def verdict(ours: tuple[Run, Outcome, int], whisper: tuple[Run, Outcome, int]) -> str:
    """The difference with its interval, and each goal beside what was measured."""
    points, low, high = difference([whisper[1]], [ours[1]])
    mine, theirs = whisper[0].epsilon, ours[0].epsilon
    within = (mine.pld or mine.rdp) <= (theirs.pld or theirs.rdp) and mine.rdp <= min(
        theirs.rdp, MOST_EPSILON
    )
    goals = (
        ("epsilon at most 8 and no larger than our own model's, by both accountants", within),
        ("interval of the difference below zero", high < 0),
        (f"at most {MOST_SECONDS:g} s", whisper[0].wall_seconds <= MOST_SECONDS),
    )
    said = "; ".join(f"{text}: {'met' if met else '**not met**'}" for text, met in goals)
    speakers = len(ours[1].words)
    return (
        f"WER of Whisper with adapters less that of our own model, on {speakers} held-out speakers: "
        f"{points:.1f} points (95 %: {low:.1f} to {high:.1f}). Goals: {said}."
    )


if __name__ == "__main__":
    main()
