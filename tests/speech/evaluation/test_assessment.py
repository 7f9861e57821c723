import json

import pytest

from speech.evaluation.assessment import Assessment, Comparison
from speech.evaluation.error_rates import EditCounts

SAID = ["a b c d", "a b", "e f g", "h"]
SPEAKERS = ["x", "x", "y", "z"]


def assessed(*hypotheses: str, speakers: list[str] = SPEAKERS, said: list[str] = SAID) -> Assessment:
    return Assessment.of(
        ids=[f"u{i}" for i in range(len(said))], speakers=speakers, references=said, hypotheses=hypotheses
    )


def test_edits_are_counted_by_kind_for_the_corpus_each_speaker_and_each_utterance() -> None:
    found = assessed("a c d", "a b b", "e x g", "")
    assert found.words == EditCounts(hits=7, substitutions=1, insertions=1, deletions=2)
    assert found.words.rate == pytest.approx(4 / 10)
    assert [(s.speaker, s.words.errors, s.words.reference_length) for s in found.speakers] == [
        ("x", 2, 6),
        ("y", 1, 3),
        ("z", 1, 1),
    ]
    assert [u.words.errors for u in found.utterances] == [1, 1, 1, 1]
    assert found.characters == EditCounts.total(speaker.characters for speaker in found.speakers)


def test_the_worst_tenth_is_rounded_up_and_ranked_and_utterances_by_errors() -> None:
    names = [f"s{i:02d}" for i in range(11)]
    said = ["a b c d e f g h i j k"] * 11
    wrong = [" ".join(said[0].split()[:i]) for i in range(11)]
    found = assessed(*wrong, speakers=names, said=said)
    assert [speaker.speaker for speaker in found.worst_speakers] == ["s00", "s01"]
    assert [utterance.id for utterance in found.worst_utterances(3)] == ["u0", "u1", "u2"]
    assert found.speaker_quantiles[0.5] == pytest.approx(6 / 11)
    assert (found.speaker_quantiles[0.0], found.speaker_quantiles[1.0]) == (pytest.approx(1 / 11), 1.0)
    assert found.summary()["worst_tenth"] == {"speakers": 2, "wer": pytest.approx(21 / 22)}


def test_nothing_wrong_has_no_worst_utterance() -> None:
    assert assessed(*SAID).worst_utterances(5) == ()


def test_an_empty_reference_counts_insertions_and_gives_its_speaker_no_rate() -> None:
    found = assessed("a b", "oh no", said=["a b", ""], speakers=["x", "y"])
    assert found.words.rate == 1.0
    assert found.speaker_quantiles[1.0] == 0.0
    assert [speaker.speaker for speaker in found.worst_speakers] == ["x"]
    assert found.word_interval is None


def test_an_empty_hypothesis_deletes_every_word() -> None:
    found = assessed("", "", "", "")
    assert (found.words.rate, found.characters.rate, found.words.deletions) == (1.0, 1.0, 10)


def test_one_speaker_has_no_interval_and_the_summary_is_json() -> None:
    summary = assessed(*SAID, speakers=["x"] * 4).summary()
    assert summary["wer"]["interval"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.mark.parametrize("said", [[], [""]])
def test_no_word_has_no_error_rate(said: list[str]) -> None:
    with pytest.raises(ValueError, match="has a word"):
        assessed(*said, said=said, speakers=["x"] * len(said))


def test_two_models_are_compared_speaker_by_speaker() -> None:
    said = ["a b c d e"] * 12
    names = [f"s{i:02d}" for i in range(12)]
    good = assessed(*["a b c d x"] * 12, said=said, speakers=names)
    bad = assessed(*["a b c x x"] * 11, "a b c d x", said=said, speakers=names)
    found = Comparison(ours=good, theirs=bad)
    assert found.difference == pytest.approx(-11 / 60)
    assert (found.verdict, found.speakers_better) == ("better", 11)
    assert Comparison(ours=bad, theirs=good).verdict == "worse"
    assert Comparison(ours=good, theirs=good).verdict == "undecided"
    alone = assessed(*SAID, speakers=["x"] * 4)
    assert Comparison(ours=alone, theirs=alone).summary()["interval"] is None


def test_other_utterances_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same utterances"):
        Comparison(ours=assessed(*SAID), theirs=assessed("b", said=["b"], speakers=["x"]))
