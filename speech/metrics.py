"""Word and character error rates of a corpus, by jiwer: all edits over all words of the references.

Rates are fractions (0.25 is 25 %) and pass 1 where more is inserted than was said.
"""

from collections.abc import Sequence

import jiwer


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Corpus WER. Raises `ValueError` for no or empty references or lists of unequal length."""
    _check(references, hypotheses)
    return float(jiwer.wer(list(references), list(hypotheses)))


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Corpus CER, spaces counted as characters. Raises as `word_error_rate` does."""
    _check(references, hypotheses)
    return float(jiwer.cer(list(references), list(hypotheses)))


def _check(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{len(references)} references and {len(hypotheses)} hypotheses: one of each is needed."
        )
    if not references:
        raise ValueError("no reference to compare with; an error rate needs at least one.")
    empty = [number for number, reference in enumerate(references) if not reference.strip()]
    if empty:
        raise ValueError(f"reference number {empty[0]} is empty; leave such utterances out.")
