"""`murmur corpus prepare` and `split`: any corpus as a manifest that a recipe can name."""

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from base.counts import count_of
from cli.corpus.options import CorpusPath, Kind, Language, MaxSeconds, Out, UnspelledChoice, or_exit
from cli.progress import progress_bar
from speech.alphabet_file import named_alphabet
from speech.corpora.corpus import EVERY_FIELD, MAX_SECONDS, Corpus, Rules, Unspelled
from speech.corpora.kinds import huggingface, librispeech
from speech.corpora.loading import load_by_rules
from speech.corpora.manifest_writer import convert, write_manifest
from speech.corpora.speakers import draw_split, pool_splits, shared_speakers, shuffle_speakers
from speech.corpora.statistics import split_statistics
from speech.errors import CorpusError, SpeechError


def prepare(
    kind: Kind,
    out: Out,
    path: CorpusPath = "",
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="LibriSpeech: SPLIT=PART, e.g. seed=LS-100 train=LS-860 dev=dev-clean; repeatable."
        ),
    ] = None,
    flac: Annotated[bool, typer.Option("--flac", help="Convert all audio to FLAC, 16 kHz, mono.")] = False,
    workers: Annotated[
        int, typer.Option("--processes", min=1, help="Processes that convert.")
    ] = os.cpu_count() or 1,
    max_seconds: MaxSeconds = MAX_SECONDS,
    language: Language = "en",
    unspelled: UnspelledChoice = "skip",
) -> None:
    """Write a corpus down as a manifest; its audio stays where it lies, or is converted."""
    try:
        rules = _rules(max_seconds, language, unspelled)
        with progress_bar("reading the corpus"):
            corpus = _load(kind, path, out, part or [], rules)
        if flac:
            with progress_bar("utterances", sum(1 for _ in corpus.all_utterances())) as bar:
                corpus = convert(corpus, out, workers=workers, progress=bar.advance)
        _tell(corpus, write_manifest(corpus, out))
    except (SpeechError, OSError) as error:
        raise or_exit(error) from None


def split(
    kind: Kind,
    out: Out,
    path: CorpusPath = "",
    of: Annotated[str, typer.Option("--split", help="The split whose speakers are drawn from.")] = "train",
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of its speakers to move: 0.05 and 0.1 in the paper.")
    ] = 0.0,
    into: Annotated[str, typer.Option(help="The new split that they move to.")] = "seed",
    pool: Annotated[
        bool,
        typer.Option(
            "--pool", help="First make all splits one, --split: where speakers are in more than one of them."
        ),
    ] = False,
    iid: Annotated[
        bool, typer.Option("--iid", help="Then give each utterance of --split a speaker drawn at random.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The draw follows from it.")] = 0,
    max_seconds: MaxSeconds = MAX_SECONDS,
    language: Language = "en",
    unspelled: UnspelledChoice = "skip",
) -> None:
    """Draw speakers into a split of their own, or shuffle who spoke; writes a manifest, moves no audio."""
    try:
        if math.isnan(share):
            raise CorpusError("--share nan: give a number from 0 to 1.")
        if not share and not iid:
            raise CorpusError("nothing to do: give --share, or --iid, or both.")
        with progress_bar("reading the corpus"):
            corpus = load_by_rules(kind, path, _rules(max_seconds, language, unspelled))
        if pool:
            corpus = pool_splits(corpus, of)
        if share:
            corpus = draw_split(corpus, split=of, share=share, into=into, seed=seed)
        if iid:
            corpus = shuffle_speakers(corpus, split=of, seed=seed)
        _tell(corpus, write_manifest(corpus, out))
        if iid:
            typer.echo(
                f"note: the speakers of {of!r} are shuffled: an epsilon for them protects no real person"
            )
    except (SpeechError, OSError) as error:
        raise or_exit(error) from None


def _rules(max_seconds: float, language: str, unspelled: Unspelled) -> Rules:
    """What is taken; a manifest keeps all that its source says."""
    return Rules(
        max_seconds=max_seconds,
        alphabet=named_alphabet(language),
        unspelled=unspelled,
        keep_written=True,
        keep_fields=(EVERY_FIELD,),
    )


def _load(kind: str, path: str, out: Path, parts: list[str], rules: Rules) -> Corpus:
    if parts and kind != "librispeech":
        raise CorpusError(f"--part belongs to kind 'librispeech', not to {kind!r}: leave it out.")
    if parts:
        pairs = [part.partition("=") for part in parts]
        wrong = [part for part, (split, _, name) in zip(parts, pairs, strict=True) if not (split and name)]
        if wrong or len({split for split, _, _ in pairs}) < len(pairs):
            raise CorpusError(f"--part {wrong[0] if wrong else parts}: write SPLIT=PART, one of each split.")
        return librispeech.load_parts(path, {split: name for split, _, name in pairs}, rules)
    if kind == "huggingface":
        return huggingface.load_extracted(path, out / "original", rules)
    return load_by_rules(kind, path, rules)


def _tell(corpus: Corpus, manifest: Path) -> None:
    for row in split_statistics(corpus):
        spoken = f"{count_of(row.speakers, 'speaker')}, {count_of(row.utterances, 'utterance')}"
        counts = f"{spoken}, {row.hours:,.2f} h"
        typer.echo(f"{row.split}: {counts}; {row.skipped:,} skipped, {row.mapped:,} mapped")
    if shared_speakers(corpus):
        typer.echo(f"WARNING: {len(shared_speakers(corpus))} speakers are in more than one split")
    typer.echo(f"manifest: {manifest}\ndigest: {corpus.digest}")
