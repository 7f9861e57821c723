"""Mutated replies in real rounds: left out whole and by name, or a sum that speakers could have made."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.counts import fuzz, peak_megabytes, tally
from tests.fuzz.replies import mutants
from tests.fuzz.rounds import Federation, check, play

MORE_MEGABYTES = 400
SMALL = [("weight", (6, 4)), ("bias", (6,)), ("scale", ())]
WIDE = [("weight", (300, 150)), ("bias", (40,))]  # more than one packed block
A_ROUND = 5


def test_mutated_replies_are_left_out_whole_or_are_sums_that_speakers_can_have(tmp_path: Path) -> None:
    """At least a fifth of them are added: the others never reach what is behind the first checks."""
    few = {1: 2, 2: 1, 3: 2, 4: 3, 5: 1, 6: 7}
    federations = [
        Federation(tmp_path / "small", SMALL, few),
        Federation(tmp_path / "many", SMALL, {**few, 6: 4096}),  # 64-bit sums
        Federation(tmp_path / "wide", WIDE, few),
        Federation(tmp_path / "raw", SMALL, few, raw_metrics=True),
    ]
    counts = tally("replies")

    @fuzz(short=80, long=2000)
    @given(
        which=st.sampled_from([0, 0, 0, 0, 1, 2, 3, 3]),
        replies=st.lists(mutants, min_size=A_ROUND, max_size=A_ROUND),
        streamed=st.booleans(),
    )
    def one_round(which, replies, streamed):
        played, counted = play(federations[which], replies, streamed)
        check(federations[which], played)
        counts.update(counted)

    before = peak_megabytes()
    one_round()
    assert peak_megabytes() - before < MORE_MEGABYTES
    assert counts["added"] >= counts["replies"] / 5
