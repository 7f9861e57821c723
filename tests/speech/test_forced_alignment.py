import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speech.decoding import align_words
from speech.decoding.forced_alignment import align
from speech.text import ENGLISH
from tests.speech.test_decoding import certain


def test_words_have_the_frames_of_their_characters() -> None:
    log_probs, _, _ = certain(["__hh_i_ yy_oo__"])
    first, second = align_words(log_probs[0], "hi yo", ENGLISH, frame_seconds=0.04, first_frame=100)
    assert (first.text, second.text) == ("hi", "yo")
    # A frame reaches half a frame to both sides of its centre.
    assert first.start_seconds == pytest.approx((102 - 0.5) * 0.04)
    assert first.end_seconds == pytest.approx((106 - 0.5) * 0.04)
    assert second.start_seconds == pytest.approx((108 - 0.5) * 0.04)
    assert second.end_seconds == pytest.approx((113 - 0.5) * 0.04)


def test_confidence_is_the_geometric_mean_of_the_characters_peaks() -> None:
    posteriors = torch.full((4, ENGLISH.num_outputs), 1e-6)
    posteriors[0, ENGLISH.characters.index("a")] = 0.2
    posteriors[1, ENGLISH.characters.index("a")] = 0.9
    posteriors[2, ENGLISH.blank] = 1.0
    posteriors[3, ENGLISH.characters.index("b")] = 0.4
    (word,) = align_words(posteriors.log(), "ab", ENGLISH, frame_seconds=0.01)
    assert word.confidence == pytest.approx((0.9 * 0.4) ** 0.5)
    assert word.start_seconds == 0.0


@given(st.lists(st.integers(0, 1), min_size=1, max_size=3), st.integers(3, 6), st.integers(0, 10_000))
def test_the_path_is_the_best_of_all(tokens: list[int], frames: int, seed: int) -> None:
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), size=frames))

    def spelled(path: tuple[int, ...]) -> list[int]:
        return [symbol for symbol, _ in itertools.groupby(path) if symbol != 2]

    paths = [path for path in itertools.product(range(3), repeat=frames) if spelled(path) == tokens]
    if not paths:
        with pytest.raises(ValueError, match="too few"):
            align(log_probs, tokens, blank=2)
        return
    best = max(paths, key=lambda path: sum(log_probs[t, s] for t, s in enumerate(path)))
    runs, position = [], 0
    for symbol, group in itertools.groupby(best):
        length = len(list(group))
        if symbol != 2:
            runs.append((position, position + length))
        position += length
    assert [(span.start, span.stop) for span in align(log_probs, tokens, blank=2)] == runs


def test_no_text_has_no_words() -> None:
    log_probs, _, _ = certain(["____"])
    assert align_words(log_probs[0], "", ENGLISH, frame_seconds=0.04) == []
