"""`murmur lm`: an n-gram language model of one's own text, for `murmur transcribe --lm`."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from base.counts import count_of
from cli.exits import REFUSED
from cli.outputs import is_among, require_folder
from speech.alphabet_file import named_alphabet
from speech.corpora.loading import load_corpus
from speech.decoding import MAX_ORDER, MIN_ORDER, Unit, train_ngram
from speech.errors import LanguageModelError
from speech.text import Alphabet

# What a small text can fill: longer histories of words are nearly all seen once.
_ORDERS: dict[Unit, int] = {"character": 6, "word": 3}


def language_model(
    out: Annotated[Path, typer.Option("--out", "-o", help="The ARPA file to write.")],
    texts: Annotated[list[Path] | None, typer.Argument(help="Text files, a sentence a line.")] = None,
    unit: Annotated[Unit, typer.Option(help="Model characters (spells any word) or words.")] = "character",
    order: Annotated[
        int | None,
        typer.Option(min=MIN_ORDER, max=MAX_ORDER, help="Longest n-gram (6 characters, or 3 words)."),
    ] = None,
    language: Annotated[str, typer.Option(help="Whose characters: en, fr, de, or a file with them.")] = "en",
    corpus_kind: Annotated[
        str | None, typer.Option(help="Or the transcripts of a corpus: embedded, manifest ...")
    ] = None,
    corpus_path: Annotated[str, typer.Option(help="Where that corpus lies.")] = "",
    split: Annotated[list[str] | None, typer.Option(help="A split of that corpus; repeatable.")] = None,
) -> None:
    """Make a language model (ARPA) from text. Transcripts in it are covered by no epsilon."""
    console = Console(stderr=True)
    if bool(texts) == (corpus_kind is not None):
        raise typer.BadParameter("give either text files or --corpus-kind")
    if (corpus_kind is None) != (not split):
        raise typer.BadParameter("--corpus-kind and --split go together")
    _check_out(out, texts or [])
    try:
        alphabet = named_alphabet(language)
        if corpus_kind is None:
            sentences, skipped = _read(texts or [], alphabet)
        else:
            sentences, skipped = _transcripts(corpus_kind, corpus_path, split or [], alphabet), 0
        model = io.StringIO()
        count = train_ngram(
            sentences, model, order=order or _ORDERS[unit], unit=unit, characters=alphabet.characters
        )
        out.write_text(model.getvalue(), encoding="utf-8", newline="\n")
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    if skipped:
        console.print(f"{skipped} lines were skipped: they hold digits or letters that nobody can spell out")
    console.print(
        f"language model of {count_of(count, 'sentence')}: {out}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _check_out(out: Path, texts: list[Path]) -> None:
    """Find out before the work that the model has no place, or the place of a text."""
    if out.is_dir():
        raise typer.BadParameter(f"--out {out} is a folder; give the name of a file in it")
    require_folder(out)
    if is_among(out, texts):
        raise typer.BadParameter(f"--out {out} is one of the texts; give another name")


def _read(texts: Iterable[Path], alphabet: Alphabet) -> tuple[list[str], int]:
    """Normalised sentences of text files, and how many lines were left out as nobody can read them out."""
    sentences, skipped = [], 0
    for path in texts:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise LanguageModelError(f"{path}: is no UTF-8 text; convert it first.") from None
        for line in lines:
            if alphabet.unspelled(line):
                skipped += 1
            else:
                sentences.append(alphabet.normalise(line))
    return sentences, skipped


def _transcripts(kind: str, path: str, splits: Iterable[str], alphabet: Alphabet) -> list[str]:
    corpus = load_corpus(kind, path, language=alphabet)
    return [
        utterance.text
        for split in splits
        for speaker in corpus.speakers(split)
        for utterance in corpus.utterances(split, speaker)
    ]
