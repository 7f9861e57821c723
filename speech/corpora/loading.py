"""Loading of a corpus by its kind."""

from pathlib import Path

from base.registries import CORPUS_KINDS
from base.registry import UnknownName
from speech.corpora.corpus import MAX_SECONDS, Corpus, Rules, Unspelled
from speech.errors import CorpusError
from speech.text import ENGLISH, Alphabet, alphabet_of


def load_corpus(
    kind: str,
    path: str | Path,
    *,
    max_seconds: float = MAX_SECONDS,
    language: str | Alphabet = ENGLISH,
    characters: str = "",
    unspelled: Unspelled = "skip",
    keep_written: bool = False,
    keep_fields: tuple[str, ...] = (),
) -> Corpus:
    """Load a corpus without decoding its audio.

    Args:
        kind: A name in `base.registries.CORPUS_KINDS`.
        path: Where the corpus is, as its kind takes it.
        max_seconds: Longer utterances are skipped.
        language: The alphabet of its transcripts, or the code of its language.
        characters: The characters of a language that is not registered.
        unspelled: What to do with a transcript that has digits or foreign letters (`Rules`).
        keep_written: Whether to keep transcripts as they were written, too.
        keep_fields: The names of other fields to keep.

    Raises:
        LanguageError: For an unknown language, or characters that make no alphabet.
        CorpusError: For an unknown kind, a broken manifest (naming file and line), a file that
            this user may not read, or a corpus without a usable utterance.
    """
    rules = Rules(
        max_seconds=max_seconds,
        alphabet=alphabet_of(language, characters),
        unspelled=unspelled,
        keep_written=keep_written,
        keep_fields=keep_fields,
    )
    return load_by_rules(kind, path, rules)


def load_by_rules(kind: str, path: str | Path, rules: Rules) -> Corpus:
    """Load a corpus as `load_corpus` does, with `rules` that are made already."""
    try:
        loader = CORPUS_KINDS[kind]
    except UnknownName as error:
        raise CorpusError(f"{error}.") from None
    try:
        corpus: Corpus = loader(str(path), rules)
    except OSError as error:
        raise CorpusError(
            f"{error.filename or path}: cannot be read ({error.strerror}); let the user that trains read it."
        ) from error
    return corpus
