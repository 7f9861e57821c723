"""speech.corpora.speakers: who is drawn, who is in two splits, and speakers shuffled away."""

from dataclasses import replace
from pathlib import Path

import pytest

from speech.corpora.corpus import Corpus, Skipped, Utterance
from speech.corpora.speakers import (
    draw_split,
    pool_splits,
    require_disjoint,
    shared_speakers,
    shuffle_speakers,
)
from speech.errors import CorpusError


def corpus(speakers: int = 40, utterances: int = 3, order: int = 1) -> Corpus:
    rows = [
        Utterance(
            id=f"{speaker}-{number}",
            speaker=f"s{speaker:04d}",
            split="train",
            audio=Path("a.wav"),
            text="yes",
            source=f"m:{speaker}",
            duration_seconds=1.0,
        )
        for speaker in range(speakers)
        for number in range(utterances)
    ]
    lost = [
        Skipped(source="m:x", reason="too long", split="train", speaker=f"s{n:04d}") for n in range(speakers)
    ]
    return Corpus.of("c", rows[::order], lost[::order])


@pytest.mark.parametrize(
    ("speakers", "share", "moved"),
    # The paper's Table 2: floor(5 %) and floor(10 %) of the users of Common Voice.
    [
        (40, 0.1, 4),
        (34753, 0.05, 1737),
        (34753, 0.1, 3475),
        (6856, 0.1, 685),
        (7127, 0.1, 712),
        (100, 0.29, 29),
    ],
)
def test_a_share_of_the_speakers_moves_with_all_their_speech(speakers: int, share: float, moved: int) -> None:
    drawn = draw_split(corpus(speakers, 1), split="train", share=share, into="seed")
    assert len(drawn.speakers("seed")) == moved
    assert len(drawn.speakers("train")) == speakers - moved
    assert not shared_speakers(drawn)


def test_the_draw_is_the_same_in_any_order_and_another_with_another_seed() -> None:
    one = draw_split(corpus(), split="train", share=0.1, into="seed")
    assert draw_split(corpus(order=-1), split="train", share=0.1, into="seed").digest == one.digest
    # As it was drawn when this was written: a new release must not draw other speakers.
    assert one.speakers("seed") == ("s0001", "s0005", "s0020", "s0030")
    assert draw_split(corpus(), split="train", share=0.1, into="seed", seed=1).digest != one.digest
    assert all(len(one.utterances("seed", speaker)) == 3 for speaker in one.speakers("seed"))
    assert {s.speaker for s in one.skipped if s.split == "seed"} == set(one.speakers("seed"))


def test_a_draw_that_cannot_be() -> None:
    for share in (0.0, 0.01, 1.0):
        with pytest.raises(CorpusError, match=f"share {share:g} of the 40 speakers"):
            draw_split(corpus(), split="train", share=share, into="seed")
    with pytest.raises(CorpusError, match="split 'train' exists"):
        draw_split(corpus(), split="train", share=0.5, into="train")
    with pytest.raises(CorpusError, match="no split 'dev'"):
        draw_split(corpus(), split="dev", share=0.5, into="seed")


def test_shuffled_speakers_have_anybodys_utterances() -> None:
    before = corpus(speakers=20, utterances=50)
    after = shuffle_speakers(before, split="train")
    assert {u.id for u in after.all_utterances()} == {u.id for u in before.all_utterances()}
    assert after.speakers("train") == before.speakers("train")
    counts = [len(after.utterances("train", speaker)) for speaker in after.speakers("train")]
    assert 20 < min(counts) < max(counts) < 90  # Poisson-like about 50; false alarm below 1 in 10^4
    kept = sum(u.speaker == f"s{int(u.id.split('-')[0]):04d}" for u in after.all_utterances())
    assert 20 < kept < 90  # 1 in 20 of 1000 stay by chance
    assert shuffle_speakers(before, split="train").digest == after.digest
    assert shuffle_speakers(before, split="train", seed=1).digest != after.digest


def test_only_the_split_asked_for_is_shuffled() -> None:
    drawn = draw_split(corpus(), split="train", share=0.1, into="seed")
    after = shuffle_speakers(drawn, split="train")
    for speaker in drawn.speakers("seed"):
        assert after.utterances("seed", speaker) == drawn.utterances("seed", speaker)
    assert not shared_speakers(after)


def test_speakers_in_two_splits_are_named() -> None:
    rows = [*corpus(2).all_utterances()]
    require_disjoint(Corpus.of("c", rows))
    both = Utterance(id="x", speaker="s0001", split="test", audio=Path("a.wav"), text="no", source="m:9")
    mixed = Corpus.of("c", [*rows, both])
    assert shared_speakers(mixed) == {"s0001": ("test", "train")}
    assert shared_speakers(mixed, ["train"]) == {}
    with pytest.raises(
        CorpusError, match=r"the first 's0001' in 'test' and 'train'.*corpus\.shared-speakers"
    ):
        require_disjoint(mixed)


def test_speakers_of_all_splits_are_divided_once_the_splits_are_one() -> None:
    whole = corpus()
    both = Corpus.of(
        "c",
        (replace(u, split="test" if u.id.endswith("-2") else "train") for u in whole.all_utterances()),
        (replace(left_out, split="test") for left_out in whole.skipped),
    )
    assert len(shared_speakers(both)) == 40
    pooled = pool_splits(both, "train")
    assert pooled.digest == whole.digest and {one.split for one in pooled.skipped} == {"train"}
    divided = draw_split(
        draw_split(pooled, split="train", share=0.25, into="test"), split="train", share=0.15, into="dev"
    )
    assert {split: len(divided.speakers(split)) for split in divided.splits} == {
        "dev": 4,
        "test": 10,
        "train": 26,
    }
    assert not shared_speakers(divided)
    assert all(len(divided.utterances("test", speaker)) == 3 for speaker in divided.speakers("test"))
