import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.evaluation.error_rates import character_edits, character_error_rate, word_edits, word_error_rate


def edits(a: list, b: list) -> int:
    """Levenshtein distance, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, previous = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(row[-1] + 1, previous[j] + 1, previous[j - 1] + (x != y)))
    return row[-1]


words = st.lists(st.sampled_from(["a", "be", "see", "dee"]), max_size=6).map(" ".join)


@given(st.lists(st.tuples(words.filter(bool), words), min_size=1, max_size=5))
def test_rates_are_all_edits_over_all_words_or_characters(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    wer = sum(edits(r.split(), h.split()) for r, h in pairs) / sum(len(r.split()) for r in references)
    cer = sum(edits(list(r), list(h)) for r, h in pairs) / sum(len(r) for r in references)
    assert word_error_rate(references, hypotheses) == pytest.approx(wer)
    assert character_error_rate(references, hypotheses) == pytest.approx(cer)


def test_the_corpus_counts_and_not_its_utterances() -> None:
    assert word_error_rate(["a b c d e f g", "a"], ["a b c d e f g", "b"]) == pytest.approx(1 / 8)
    assert word_error_rate(["a"], ["b c d"]) == 3.0


@settings(deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_edits_by_kind_add_up_to_the_distance_and_to_both_lengths(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    for found, split in ((word_edits, str.split), (character_edits, list)):
        for counts, (said, decoded) in zip(found(references, hypotheses), pairs, strict=True):
            assert counts.errors == edits(split(said), split(decoded))
            assert counts.reference_length == len(split(said))
            assert counts.hits + counts.substitutions + counts.insertions == len(split(decoded))


def test_words_for_an_empty_reference_are_insertions() -> None:
    assert word_error_rate(["a b", ""], ["a b", "c"]) == 0.5
    assert word_edits([""], ["c d"])[0].insertions == 2
    assert word_edits([], []) == []


@pytest.mark.parametrize("rate", [word_error_rate, character_error_rate])
def test_what_cannot_be_compared_is_refused(rate) -> None:
    with pytest.raises(ValueError, match="2 references and 1 hypotheses"):
        rate(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="at least one"):
        rate([], [])
    with pytest.raises(ValueError, match="none of the 2 references has a word"):
        rate(["", " "], ["a", "b"])
