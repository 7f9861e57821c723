"""`murmur corpus`: get corpora, write them down as manifests, split them, say what is in them; who leaves."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from base.printable_text import one_line
from cli.corpus.download import download_librispeech, download_speechocean762
from cli.corpus.leave import leave
from cli.corpus.options import CorpusPath, Kind, Language, MaxSeconds, UnspelledChoice, or_exit
from cli.corpus.prepare import prepare, split
from cli.progress import progress_bar
from speech.alphabet_file import named_alphabet
from speech.corpora.corpus import MAX_SECONDS, Corpus, Unspelled
from speech.corpora.loading import load_corpus
from speech.corpora.speakers import shared_speakers
from speech.corpora.statistics import as_json, split_statistics
from speech.errors import SpeechError
from speech.synthesis.plan import DEFAULT_SEED, EMBEDDED_PLAN
from speech.text import ENGLISH, Alphabet

SKIPPED_SHOWN = 20

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Get, prepare, split and describe corpora; take a speaker out of a node.",
)
downloads = typer.Typer(no_args_is_help=True, help="Download a corpus whose licence needs no click.")
downloads.command("librispeech")(download_librispeech)
downloads.command("speechocean762")(download_speechocean762)
app.add_typer(downloads, name="download")
app.command("prepare")(prepare)
app.command("split")(split)
app.command("leave")(leave)


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
    with progress_bar("speakers", sum(plan.speakers for plan in EMBEDDED_PLAN)) as bar:
        write_corpus(
            out, seed=seed, plans=EMBEDDED_PLAN, workers=workers, progress=lambda name: bar.advance()
        )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    console.print(f"{size / 1e6:.1f} MB in {time.monotonic() - started:.0f} s: {out}")
    describe("manifest", out, console=console)


def describe(
    kind: str,
    path: str | Path = "",
    *,
    max_seconds: float = MAX_SECONDS,
    language: str | Alphabet = ENGLISH,
    unspelled: Unspelled = "skip",
    console: Console | None = None,
) -> Corpus:
    """Print a corpus's splits, what was left out of them, and its digest.

    Raises `CorpusError` for a corpus that cannot be used.
    """
    console = console or Console()
    with progress_bar("reading the corpus"):
        corpus = load_corpus(kind, path, max_seconds=max_seconds, language=language, unspelled=unspelled)
    console.print(_table(corpus))
    console.print(f"language {corpus.language}, digest {corpus.digest}", soft_wrap=True)
    shared = shared_speakers(corpus)
    if shared:
        speaker, splits = next(iter(shared.items()))
        console.print(
            f"{len(shared)} SPEAKERS ARE IN MORE THAN ONE SPLIT, the first {speaker!r} in "
            f"{', '.join(splits)}: a run refuses this corpus unless corpus.shared-speakers = true",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    for what, records in (("mapped", corpus.mapped), ("skipped", corpus.skipped)):
        for record in records[:SKIPPED_SHOWN]:
            line = one_line(f"{what} {record.source}: {record.reason}")
            console.print(line, markup=False, soft_wrap=True)
        if len(records) > SKIPPED_SHOWN:
            console.print(f"... and {len(records) - SKIPPED_SHOWN} more {what}")
    return corpus


def _table(corpus: Corpus) -> Table:
    """A column a split: what the paper's Table 2 has, then what else one wants to know."""
    table = Table("", title=corpus.name)
    splits = list(split_statistics(corpus))
    for row in splits:
        table.add_column(row.split or "(none)", justify="right")
    table.add_row("hours", *(f"{row.hours:,.2f}" for row in splits))
    table.add_row("speakers", *(f"{row.speakers:,}" for row in splits))
    for name in ("mean", "std", "min", "max"):
        minutes = (getattr(row, f"minutes_{name}") for row in splits)
        table.add_row(f"minutes a speaker, {name}", *(f"{value:,.2f}" for value in minutes))
    for name in ("utterances", "words", "sentences", "mapped", "skipped"):
        table.add_row(name, *(f"{getattr(row, name):,}" for row in splits))
    return table


@app.command("synthesise")
def _synthesise_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="A new or empty folder.")],
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = DEFAULT_SEED,
    workers: Annotated[int, typer.Option("--processes", min=1, help="Processes that work side by side.")] = 1,
) -> None:
    """Make the synthetic corpus that Murmuration ships."""
    try:
        synthesise(out, seed=seed, workers=workers)
    except (ValueError, OSError) as error:
        raise or_exit(error) from None


@app.command("describe")
def _describe_command(
    kind: Kind = "embedded",
    path: CorpusPath = "",
    max_seconds: MaxSeconds = MAX_SECONDS,
    language: Language = "en",
    unspelled: UnspelledChoice = "skip",
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON object with everything.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="A picture (PNG, SVG, PDF) of minutes per speaker (extra 'plots').")
    ] = None,
) -> None:
    """Say what each split has in hours, speakers and minutes, what was skipped, and who is in two splits."""
    try:
        rules: dict[str, Any] = {
            "max_seconds": max_seconds,
            "language": named_alphabet(language),
            "unspelled": unspelled,
        }
        if as_json_:
            with progress_bar("reading the corpus"):
                corpus = load_corpus(kind, path, **rules)
            print(json.dumps(as_json(corpus), ensure_ascii=False, indent=1))
        else:
            corpus = describe(kind, path, **rules)
        if plot is not None:
            _plot(corpus, plot)
    except (SpeechError, OSError) as error:
        raise or_exit(error) from None


def _plot(corpus: Corpus, file: Path) -> None:
    try:
        # Imported here: it is an extra, and slow to load for every other command.
        from cli.corpus.plot import plot_speakers
    except ImportError:
        raise SpeechError("--plot needs matplotlib: pip install 'murmuration[plots]'.") from None
    if file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SpeechError(f"--plot {file}: give a name that ends with .png, .svg or .pdf.")
    plot_speakers(corpus, file)
