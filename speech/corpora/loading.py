"""Load a corpus by its kind."""

from pathlib import Path

from base.registries import CORPUS_KINDS
from speech.corpora.corpus import MAX_SECONDS, Corpus, Rules, Unspelled
from speech.errors import CorpusError
from speech.text import ENGLISH


def corpus_kinds() -> tuple[str, ...]:
    """The kinds that `load_corpus` knows, sorted."""
    return tuple(CORPUS_KINDS)


def load_corpus(
    kind: str,
    path: str | Path,
    *,
    max_seconds: float = MAX_SECONDS,
    language: str = ENGLISH.language,
    unspelled: Unspelled = "skip",
) -> Corpus:
    """Load a corpus, taking what `Rules` of these arguments say. No audio is decoded.

    Raises `CorpusError` for an unknown kind, a broken manifest (naming file and line), what this user may
    not read, or a corpus with nothing usable in it.
    """
    kinds = corpus_kinds()
    if kind not in kinds:
        raise CorpusError(f"unknown corpus kind {kind!r}; known are {', '.join(kinds)}.")
    rules = Rules(max_seconds=max_seconds, language=language, unspelled=unspelled)
    try:
        return CORPUS_KINDS[kind](str(path), rules)
    except OSError as error:
        raise CorpusError(
            f"{error.filename or path}: cannot be read ({error.strerror}); let the user that trains read it."
        ) from error
