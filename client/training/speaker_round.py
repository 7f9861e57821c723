"""One speaker in one round: all that is random about the speaker's training, and how much speech it uses.

Guarantee: what is drawn (utterances, their order, masks and dropout) is a function of the run, the round, and
the speaker's own name and speech. No other speaker in the corpus, in the cohort or earlier in a list changes
it. So the sum over a data set without one speaker is the sum with that speaker, less the speaker's clipped
update, to the bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from speech.corpora.corpus import Utterance


@dataclass(frozen=True, kw_only=True)
class SpeakerRound:
    """`speaker` (a name, which stays on the node) in round `round_number` of the run `run`."""

    run: str
    round_number: int
    speaker: str

    def generator(self, purpose: str) -> torch.Generator:
        """A generator for one `purpose` in this speaker round; other purposes have other generators."""
        parts = (self.run, str(self.round_number), self.speaker, purpose)
        named = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
        seed = int.from_bytes(hashlib.sha256(named).digest()[:8], "big")
        return torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, kw_only=True)
class SpeechLimit:
    """The maximum of a speaker's speech that one round uses: number of `utterances`, `seconds` of audio."""

    utterances: int
    seconds: float

    def choose(
        self, all_utterances: Sequence[Utterance], longest_seconds: float, speaker_round: SpeakerRound
    ) -> tuple[Utterance, ...]:
        """Choose the utterances of one speaker round.

        Args:
            all_utterances: All that the speaker has.
            longest_seconds: The length that counts for an utterance of unknown length: the maximum that the
                corpus accepts.
            speaker_round: Seeds the choice.

        Returns:
            All utterances if they are within the limits, else a random part that is within them. There is
            always at least one. They keep the order of `all_utterances`.
        """
        lengths = [
            longest_seconds if one.duration_seconds is None else one.duration_seconds
            for one in all_utterances
        ]
        if len(all_utterances) <= self.utterances and math.fsum(lengths) <= self.seconds:
            return tuple(all_utterances)
        chosen: list[int] = []
        left = self.seconds
        order = torch.randperm(len(lengths), generator=speaker_round.generator("utterances")).tolist()
        for index in order[: self.utterances]:
            left -= lengths[index]
            if left < 0 and chosen:
                break
            chosen.append(index)
        return tuple(all_utterances[index] for index in sorted(chosen))
