"""Times and confidence of words: CTC forced alignment by Viterbi.

The most probable path that spells a text gives every character its frames. A word lasts from the first frame
of its first character to the last frame of its last one. CTC models peak late and briefly, so times are right
to a frame or two, not to a phone. The confidence of a word is the geometric mean, over its characters, of the
highest posterior among the frames of the character.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speech.text import Alphabet


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word with its time in the recording (seconds) and its confidence in [0, 1].

    Example:
        >>> Word(text="left", start_seconds=0.4, end_seconds=0.7, confidence=0.9).text
        'left'
    """

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float


def align_words(
    log_probs: Tensor,
    text: str,
    alphabet: Alphabet,
    *,
    frame_seconds: float,
    first_frame: float = 0,
) -> list[Word]:
    """Return the words of a normalised `text` in log-probabilities (T', outputs).

    The centre of row i is at (first_frame + i) x frame_seconds.

    Raises:
        ValueError: If there are too few frames for the text.

    Example:
        >>> import torch
        >>> from speech.text import ENGLISH
        >>> symbols = torch.tensor([*ENGLISH.encode("hi"), ENGLISH.blank])
        >>> certain = torch.nn.functional.one_hot(symbols, ENGLISH.num_outputs).float().clamp(min=1e-6).log()
        >>> [word] = align_words(certain, "hi", ENGLISH, frame_seconds=0.04)
        >>> word.start_seconds, word.end_seconds, word.confidence
        (0.0, 0.06, 1.0)
    """
    spelled, position = [], 0
    for word in text.split():
        spelled.append((word, range(position, position + len(word))))
        position += len(word) + 1
    return align_symbols(
        log_probs,
        alphabet.encode(text),
        spelled,
        blank=alphabet.blank,
        frame_seconds=frame_seconds,
        first_frame=first_frame,
    )


def align_symbols(
    log_probs: Tensor,
    symbols: Sequence[int],
    spelled: Sequence[tuple[str, Sequence[int]]],
    *,
    blank: int,
    frame_seconds: float,
    first_frame: float = 0,
) -> list[Word]:
    """Return words in log-probabilities (T', outputs) that are spelled by any symbols, as `align_words` does.

    Args:
        log_probs: The log-probabilities.
        symbols: All symbols of the text.
        spelled: Each word, with the positions of its own in `symbols`.
        blank: The index of the blank.
        frame_seconds: The time from one row to the next.
        first_frame: Where the first row is.

    Raises:
        ValueError: If there are too few frames for the text.
    """
    spans = align(log_probs.detach().cpu().double().numpy(), symbols, blank)
    words = []
    for word, positions in spelled:
        own = [spans[one] for one in positions]
        start, end = first_frame + own[0].start - 0.5, first_frame + own[-1].stop - 0.5
        words.append(
            Word(
                text=word,
                start_seconds=max(start * frame_seconds, 0.0),
                end_seconds=end * frame_seconds,
                confidence=math.exp(sum(span.log_posterior for span in own) / len(own)),
            )
        )
    return words


@dataclass(frozen=True, kw_only=True)
class Span:
    """The frames [start, stop) of one token, and the highest log-posterior among them.

    Example:
        >>> align(np.log(np.array([[0.9, 0.1], [0.2, 0.8]])), [0], blank=1)[0].stop
        1
    """

    start: int
    stop: int
    log_posterior: float


def align(log_probs: NDArray[np.float64], tokens: Sequence[int], blank: int) -> list[Span]:
    """Return the frames of each token on the best CTC path through (T', outputs) that spells `tokens`.

    Raises:
        ValueError: If there are too few frames for such a path.
    """
    if not tokens:
        return []
    path = _best_path(log_probs, _states(tokens, blank))
    spans = []
    for index, token in enumerate(tokens):
        frames = np.flatnonzero(path == 2 * index + 1)
        start, stop = int(frames[0]), int(frames[-1]) + 1
        peak = float(log_probs[start:stop, token].max())
        spans.append(Span(start=start, stop=stop, log_posterior=peak))
    return spans


def _states(tokens: Sequence[int], blank: int) -> NDArray[np.int64]:
    """Return the tokens with a blank before, between and after them."""
    states = np.full(2 * len(tokens) + 1, blank, dtype=np.int64)
    states[1::2] = tokens
    return states


def _best_path(log_probs: NDArray[np.float64], states: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the state of every frame. Paths stay, move by one, or skip a blank between unequal tokens."""
    emissions = log_probs[:, states]
    skips = np.zeros(len(states), dtype=bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    moves = np.zeros(emissions.shape, dtype=np.int8)
    scores = np.full((3, len(states)), -np.inf)
    scores[0, :2] = emissions[0, :2]
    for frame in range(1, len(emissions)):
        scores[1, 1:] = scores[0, :-1]
        scores[2, 2:] = np.where(skips[2:], scores[0, :-2], -np.inf)
        moves[frame] = scores.argmax(0)
        scores[0] = scores.max(0) + emissions[frame]
    state = len(states) - 1 if scores[0, -1] >= scores[0, -2] else len(states) - 2
    if scores[0, state] == -np.inf:
        raise ValueError(f"{len(emissions)} frames are too few for a text of {len(states) // 2} characters.")
    path = np.empty(len(emissions), dtype=np.int64)
    for frame in range(len(emissions) - 1, -1, -1):
        path[frame] = state
        state -= int(moves[frame, state])
    return path
