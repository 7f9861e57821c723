"""CTC prefix beam search, with an n-gram language model of characters or of words (flashlight-text).

The score of a text is ln p(text | sound) + lm_weight ln p(text) + word_bonus x words. With a model of
characters any word can be written; with a model of words, only its words. The wheels of flashlight-text
(extra 'decoding') include KenLM, so no compiler is needed.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speech.decoding.arpa import SPACE, UNKNOWN, Arpa, read_arpa
from speech.decoding.greedy import collapse
from speech.errors import LanguageModelError
from speech.text import Alphabet

# Hypotheses worse than the best by more than this (nats) are dropped. A larger value found nothing better.
_THRESHOLD = 25.0


@dataclass(frozen=True, kw_only=True)
class BeamConfig:
    """The number of hypotheses per frame (`beam`), and the weights of the module's formula.

    Raises:
        ValueError: For a value outside its range.

    Example:
        >>> BeamConfig(beam=8).lm_weight
        0.5
    """

    beam: int = 32
    lm_weight: float = 0.5
    word_bonus: float = 0.0

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ValueError(f"beam={self.beam} must be at least 1.")
        if not 0 <= self.lm_weight < math.inf:
            raise ValueError(f"lm_weight={self.lm_weight} must be finite and >= 0.")
        if not math.isfinite(self.word_bonus):
            raise ValueError(f"word_bonus={self.word_bonus} must be finite.")


class BeamSearch:
    """Decodes log-probabilities to texts, as `greedy` does, by beam search.

    With a model of characters, or none, `word_bonus` counts for every frame whose symbol is a space; a space
    mostly has one frame.

    Args:
        alphabet: The characters of the outputs.
        config: Beam and weights.
        language_model: An ARPA file.

    Raises:
        LanguageModelError: For a model file that is broken, empty or of another alphabet, and without the
            extra.

    Example:
        >>> import torch
        >>> from speech.text import ENGLISH
        >>> symbols = torch.tensor([[*ENGLISH.encode("hi"), ENGLISH.blank]])
        >>> certain = torch.nn.functional.one_hot(symbols, ENGLISH.num_outputs).float().clamp(min=1e-6).log()
        >>> BeamSearch(ENGLISH)(certain, torch.tensor([3]))
        ['hi']
    """

    def __init__(
        self,
        alphabet: Alphabet,
        config: BeamConfig | None = None,
        language_model: str | Path | None = None,
    ) -> None:
        config = config or BeamConfig()
        self._alphabet = alphabet
        self._words: tuple[str, ...] | None = None
        arpa = None if language_model is None else read_arpa(language_model)
        if arpa is None or arpa.unit == "character":
            self._decoder = _spelling_decoder(alphabet, config, arpa)
        else:
            self._words = _spelled_words(alphabet, arpa)
            self._decoder = _word_decoder(alphabet, config, arpa, self._words)

    def __call__(self, log_probs: Tensor, lengths: Tensor) -> list[str]:
        """Return the texts of log-probabilities (B, T', outputs) with `lengths` (B,) frames each.

        Raises:
            ValueError: For log-probabilities that are NaN: the model is broken.
        """
        if log_probs.isnan().any():
            raise ValueError("the log-probabilities have NaN: the model is broken; give another one.")
        rows = log_probs.detach().cpu().float()
        return [self._decode(row[:length]) for row, length in zip(rows, lengths.tolist(), strict=True)]

    def _decode(self, log_probs: Tensor) -> str:
        if self._words is not None:
            log_probs = torch.cat([log_probs, _word_end(self._alphabet)])
        log_probs = log_probs.contiguous()
        best = self._decoder.decode(log_probs.data_ptr(), *log_probs.shape)
        if not best:
            return ""
        if self._words is None:
            return collapse(best[0].tokens, self._alphabet)
        return " ".join(self._words[index] for index in best[0].words if index >= 0)


def _spelling_decoder(alphabet: Alphabet, config: BeamConfig, arpa: Arpa | None) -> Any:
    """Make a decoder that spells freely, symbol by symbol."""
    library = _library()
    options = library.LexiconFreeDecoderOptions(
        config.beam,
        alphabet.num_outputs,
        _THRESHOLD,
        _log10_weight(config),
        config.word_bonus,
        True,
        library.CriterionType.CTC,
    )
    if arpa is None:
        model = library.ZeroLM()
    else:
        known = [character for character in alphabet.characters if character in arpa.tokens]
        if not known:
            raise LanguageModelError(
                f"{arpa.path}: none of its characters is one of {alphabet.characters!r}."
            )
        # The blank is never scored, but is one of the outputs.
        model = _kenlm(arpa.path, [*alphabet.characters.replace(" ", SPACE), "<blank>"])
    return library.LexiconFreeDecoder(options, model, alphabet.characters.index(" "), alphabet.blank, [])


def _word_decoder(alphabet: Alphabet, config: BeamConfig, arpa: Arpa, words: tuple[str, ...]) -> Any:
    """Make a decoder of the model's words only, each followed by a space."""
    library = _library()
    space = alphabet.characters.index(" ")
    model = _kenlm(arpa.path, [*words, UNKNOWN])
    start = model.start(False)
    trie = library.Trie(alphabet.num_outputs, space)
    for index, word in enumerate(words):
        trie.insert([*alphabet.encode(word), space], index, model.score(start, index)[1])
    trie.smear(library.SmearingMode.MAX)
    options = library.LexiconDecoderOptions(
        config.beam,
        alphabet.num_outputs,
        _THRESHOLD,
        _log10_weight(config),
        config.word_bonus,
        -math.inf,
        0.0,
        True,
        library.CriterionType.CTC,
    )
    return library.LexiconDecoder(options, trie, model, space, alphabet.blank, len(words), [], False)


def _spelled_words(alphabet: Alphabet, arpa: Arpa) -> tuple[str, ...]:
    """Return the words of the model that the alphabet can spell."""
    words = tuple(word for word in arpa.tokens if set(word) <= set(alphabet.characters))
    if not words:
        raise LanguageModelError(
            f"{arpa.path}: none of its {len(arpa.tokens)} words, such as {arpa.tokens[0]!r}, can be "
            f"spelled in {alphabet.characters!r}; make it from normalised text, as `murmur lm` does."
        )
    return words


def _word_end(alphabet: Alphabet) -> Tensor:
    """Return one more frame (1, outputs) that ends the last word without cost."""
    frame = torch.full((1, alphabet.num_outputs), -1e4)
    frame[0, [alphabet.characters.index(" "), alphabet.blank]] = 0.0
    return frame


def _log10_weight(config: BeamConfig) -> float:
    """Return the weight for KenLM's logarithms, which have base 10."""
    return config.lm_weight * math.log(10.0)


def _kenlm(path: Path, tokens: list[str]) -> Any:
    _library()
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    try:
        with _quiet():
            return KenLM(str(path), Dictionary(tokens))
    except (RuntimeError, ValueError) as error:
        raise LanguageModelError(f"{path}{_position(path, str(error))}; make the file again.") from None


def _position(path: Path, message: str) -> str:
    """Return KenLM's message without its source lines, and the line of the byte that it names."""
    message_line = message.strip().splitlines()[-1]
    byte = re.search(r"\s*Byte: (\d+)\s*$", message_line)
    if byte is None:
        return f": {message_line}"
    with path.open("rb") as file:
        line = file.read(int(byte[1])).count(b"\n") + 1
    return f", near line {line}: {message_line[: byte.start()]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the progress bar that KenLM writes to the standard error of the process."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _library() -> Any:
    try:
        from flashlight.lib.text import decoder
    except ImportError:
        raise LanguageModelError(
            "beam search needs flashlight-text: pip install 'murmuration[decoding]'."
        ) from None
    return decoder
