"""`murmur corpus`: make the synthetic corpus, and say what is in any corpus."""

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from speech.corpus import MAX_SECONDS, Corpus, load_corpus
from speech.errors import SpeechError
from speech.synthesis.plan import DEFAULT_SEED, EMBEDDED_PLAN

SKIPPED_SHOWN = 20

app = typer.Typer(no_args_is_help=True, help="Make a synthetic corpus, or describe any corpus.")


def synthesise(
    out: Path, *, seed: int = DEFAULT_SEED, workers: int = 1, console: Console | None = None
) -> None:
    """Make the embedded corpus anew in the empty folder `out`.

    Raises `ValueError` for a folder that is not empty, `SynthesisError` without espeak-ng.
    """
    # Imported here: it needs scipy's signal module, which is slow to load for every other command.
    from speech.synthesis.writer import write_corpus

    console = console or Console()
    started = time.monotonic()
    with Progress(console=console) as bar:
        task = bar.add_task("speakers", total=sum(plan.speakers for plan in EMBEDDED_PLAN))
        write_corpus(
            out, seed=seed, plans=EMBEDDED_PLAN, workers=workers, progress=lambda name: bar.advance(task)
        )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    console.print(f"{size / 1e6:.1f} MB in {time.monotonic() - started:.0f} s: {out}")
    describe("manifest", out, console=console)


def describe(
    kind: str,
    path: str | Path = "",
    *,
    max_seconds: float = MAX_SECONDS,
    console: Console | None = None,
) -> None:
    """Print a corpus's splits, what was left out of them, and its digest.

    Raises `CorpusError` for a corpus that cannot be used.
    """
    console = console or Console()
    corpus = load_corpus(kind, path, max_seconds=max_seconds)
    console.print(_table(corpus))
    console.print(f"digest {corpus.digest}", soft_wrap=True)
    for skipped in corpus.skipped[:SKIPPED_SHOWN]:
        console.print(f"skipped {skipped.source}: {skipped.reason}", markup=False, soft_wrap=True)
    if len(corpus.skipped) > SKIPPED_SHOWN:
        console.print(f"... and {len(corpus.skipped) - SKIPPED_SHOWN} more skipped")


def _table(corpus: Corpus) -> Table:
    table = Table("split", title=corpus.name)
    for heading in ("speakers", "utterances", "hours", "words", "sentences", "skipped"):
        table.add_column(heading, justify="right")
    skipped = Counter(skipped.split for skipped in corpus.skipped)
    for split in (*corpus.splits, *sorted(set(skipped) - set(corpus.splits))):
        table.add_row(split or "(none)", *_row(corpus, split), str(skipped[split]))
    return table


def _row(corpus: Corpus, split: str) -> tuple[str, ...]:
    speakers = corpus.speakers(split) if split in corpus.splits else ()
    utterances = [u for speaker in speakers for u in corpus.utterances(split, speaker)]
    words = {word for utterance in utterances for word in utterance.text.split()}
    return (
        str(len(speakers)),
        str(len(utterances)),
        f"{sum(u.duration_seconds or 0.0 for u in utterances) / 3600:.2f}",
        str(len(words)),
        str(len({utterance.text for utterance in utterances})),
    )


def _or_exit(console: Console, error: Exception) -> typer.Exit:
    """A person who mistyped a path wants the sentence, not the traceback."""
    console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(code=1)


@app.command("synthesise")
def _synthesise_command(
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder.")],
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = DEFAULT_SEED,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work side by side.")] = 1,
) -> None:
    """Make the synthetic corpus that Murmuration ships (extra 'synthesis')."""
    try:
        synthesise(out, seed=seed, workers=workers)
    except (ValueError, OSError) as error:
        raise _or_exit(Console(stderr=True), error) from None


@app.command("describe")
def _describe_command(
    kind: Annotated[str, typer.Argument(help="embedded, manifest or librispeech.")] = "embedded",
    path: Annotated[str, typer.Argument(help="Where it lies; nothing for embedded.")] = "",
    max_seconds: Annotated[float, typer.Option(help="Leave out longer ones.")] = MAX_SECONDS,
) -> None:
    """Speakers, utterances, hours and what was skipped, per split."""
    try:
        describe(kind, path, max_seconds=max_seconds)
    except SpeechError as error:
        raise _or_exit(Console(stderr=True), error) from None
