import numpy as np
import pytest

from speech.evaluation.bootstrap import difference_interval, rate_interval
from speech.evaluation.error_rates import EditCounts


def drawn(count: int, rng: np.random.Generator, rate: float = 0.2) -> list[EditCounts]:
    """Speakers of 20 to 200 words, whose own rates vary about `rate`."""
    words = rng.integers(20, 200, count)
    wrong = rng.binomial(words, np.clip(rng.normal(rate, 0.08, count), 0, 1))
    return [EditCounts(hits=int(w - e), substitutions=int(e)) for w, e in zip(words, wrong, strict=True)]


def test_the_true_rate_lies_within_nearly_as_often_as_promised() -> None:
    """Of 200 corpora of 30 speakers, 190 are expected to be covered; at 0.93 (small samples cover a little
    less than they promise) fewer than 174 has probability 0.001."""
    rng = np.random.default_rng(0)
    truth = EditCounts.total(drawn(100_000, rng)).rate
    found = [rate_interval(drawn(30, rng)) for _ in range(200)]
    covered = sum(one is not None and one.low <= truth <= one.high for one in found)
    assert 174 <= covered < 200


def test_an_interval_is_repeatable_and_brackets_the_rate() -> None:
    speakers = drawn(20, np.random.default_rng(1))
    first, second = rate_interval(speakers), rate_interval(speakers)
    assert first == second and first is not None and first.speakers == 20
    assert first.low < EditCounts.total(speakers).rate < first.high


def test_speakers_are_drawn_and_not_words() -> None:
    """The same words in fewer mouths say less."""
    many = [EditCounts(hits=8, substitutions=2)] * 10 + [EditCounts(hits=2, substitutions=8)] * 10
    few = [EditCounts(hits=80, substitutions=20), EditCounts(hits=20, substitutions=80)]
    wide, narrow = rate_interval(few), rate_interval(many)
    assert wide is not None and narrow is not None
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    "speakers",
    [[], [EditCounts(hits=3)], [EditCounts(hits=3), EditCounts(insertions=2)]],
    ids=["none", "one", "one with words"],
)
def test_one_voice_alone_has_no_interval(speakers: list[EditCounts]) -> None:
    assert rate_interval(speakers) is None


def test_speakers_all_alike_have_an_interval_of_no_width() -> None:
    found = rate_interval([EditCounts(hits=10)] * 5)
    assert found is not None and (found.low, found.high) == (0, 0)


def test_a_difference_that_every_speaker_shares_is_found_where_the_rates_overlap() -> None:
    rng = np.random.default_rng(2)
    ours = drawn(20, rng, rate=0.4)
    theirs = [EditCounts(hits=c.hits - 2, substitutions=c.substitutions + 2) for c in ours]
    mine, other, paired = rate_interval(ours), rate_interval(theirs), difference_interval(ours, theirs)
    assert mine is not None and other is not None and paired is not None
    assert mine.high > other.low and paired.high < 0


def test_only_the_same_words_can_be_compared() -> None:
    with pytest.raises(ValueError, match="same speakers and references"):
        difference_interval([EditCounts(hits=1)] * 2, [EditCounts(hits=2)] * 2)
