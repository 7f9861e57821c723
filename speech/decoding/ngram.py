"""n-gram language models of a small text, of words or of characters, as ARPA files.

Interpolated Witten-Bell smoothing (Bell, Cleary and Witten, Text Compression, 1990; Chen and Goodman, 1998,
section 2.4): after a history that occurs c times, with T different successors,

    p(w | h) = (c(h w) + T p(w | h')) / (c + T),    h' = h without its oldest token,

down to the uniform distribution over the vocabulary with <unk> and </s>. It needs no counts of counts, so it
is valid for a few hundred sentences and for the closed vocabulary of characters, where the discounts of
Kneser-Ney are not defined. For gigabytes of text use KenLM's `lmplz`: the decoder reads its files too.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from speech.decoding.arpa import BEGIN, END, SPACE, UNKNOWN, Unit
from speech.errors import LanguageModelError

# The orders that the KenLM of the beam search reads.
MIN_ORDER, MAX_ORDER = 2, 6
# In ARPA files, the logarithm of a probability that is never used.
_NEVER = -99.0

_Gram = tuple[str, ...]


def train_ngram(sentences: Iterable[str], out: TextIO, *, order: int, unit: Unit, characters: str) -> int:
    """Write the language model of normalised sentences to `out`.

    A model of characters has all of `characters`; a model of words has the words of the sentences.

    Returns:
        The number of sentences with a word.

    Raises:
        LanguageModelError: For an order outside 2 to 6, or if no sentence has a word.
    """
    if not MIN_ORDER <= order <= MAX_ORDER:
        raise LanguageModelError(f"order={order} must lie in {MIN_ORDER} to {MAX_ORDER}.")
    lines = [tokens for tokens in (_tokens(sentence, unit) for sentence in sentences) if tokens]
    if not lines:
        raise LanguageModelError("the text has no sentence with a word; give one sentence a line.")
    vocabulary = set(characters.replace(" ", SPACE)) if unit == "character" else set()
    _write(_WittenBell(lines, order, vocabulary), out)
    return len(lines)


def _tokens(sentence: str, unit: Unit) -> list[str]:
    words = sentence.split()
    return words if unit == "word" else list(SPACE.join(words))


class _WittenBell:
    """Counts of n-grams of every order, and the probabilities of the model."""

    def __init__(self, lines: Iterable[Sequence[str]], order: int, vocabulary: set[str]) -> None:
        self.counts: list[Counter[_Gram]] = [Counter() for _ in range(order)]
        for line in lines:
            padded = (BEGIN, *line, END)
            for index in range(1, len(padded)):
                for length in range(1, min(order, index + 1) + 1):
                    self.counts[length - 1][padded[index + 1 - length : index + 1]] += 1
        self.unigrams = sorted(vocabulary | {gram[0] for gram in self.counts[0]} | {UNKNOWN})
        self._totals: dict[_Gram, int] = defaultdict(int)
        self._successors: dict[_Gram, int] = defaultdict(int)
        for counts in self.counts:
            for gram, count in counts.items():
                self._totals[gram[:-1]] += count
                self._successors[gram[:-1]] += 1

    def probability(self, gram: _Gram) -> float:
        """Return p(last token | the others)."""
        history = gram[:-1]
        lower = self.probability(gram[1:]) if history else 1 / len(self.unigrams)
        if history not in self._totals:
            return lower
        novel = self._successors[history]
        count = self.counts[len(history)][gram]
        return (count + novel * lower) / (self._totals[history] + novel)

    def back_off(self, history: _Gram) -> float | None:
        """Return the factor of p(w | h') for a successor that does not occur after `history`."""
        if history not in self._totals:
            return None
        novel = self._successors[history]
        return novel / (self._totals[history] + novel)

    def entries(self, length: int) -> Iterator[tuple[_Gram, float, float | None]]:
        """Yield the n-grams of a length: tokens, log10 probability, log10 back-off weight."""
        if length == 1:
            grams: Iterable[_Gram] = [(BEGIN,), *((token,) for token in self.unigrams)]
        else:
            grams = sorted(self.counts[length - 1])
        for gram in grams:
            weight = self.back_off(gram)
            logarithm = _NEVER if gram == (BEGIN,) else math.log10(self.probability(gram))
            yield gram, logarithm, None if weight is None else math.log10(weight)


def _write(model: _WittenBell, out: TextIO) -> None:
    sections = [list(model.entries(length)) for length in range(1, len(model.counts) + 1)]
    out.write("\\data\\\n")
    out.writelines(f"ngram {length}={len(entries)}\n" for length, entries in enumerate(sections, start=1))
    for length, entries in enumerate(sections, start=1):
        out.write(f"\n\\{length}-grams:\n")
        for gram, logarithm, weight in entries:
            tail = "" if weight is None else f"\t{weight:.6f}"
            out.write(f"{logarithm:.6f}\t{' '.join(gram)}{tail}\n")
    out.write("\n\\end\\\n")
