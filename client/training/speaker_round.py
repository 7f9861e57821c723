"""A visit: one speaker's turn in one round, and all that is random about it.

Guarantee: what a visit draws (its utterances, their order, what is masked and dropped) is a function of the
run, the round and the speaker's own name and speech. Whoever else is in the corpus, in the cohort or in a
list before this speaker changes nothing; so the sum of a data set without somebody is the sum with them, less
their own clipped update, to the bit.
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
        """A generator of this visit's own; other purposes have others."""
        parts = (self.run, str(self.round_number), self.speaker, purpose)
        named = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
        seed = int.from_bytes(hashlib.sha256(named).digest()[:8], "big")
        return torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, kw_only=True)
class SpeechLimit:
    """The most that a visit uses of a speaker's speech: so many `utterances`, and `seconds` of audio."""

    utterances: int
    seconds: float

    def choose(
        self, spoken: Sequence[Utterance], longest_seconds: float, visit: SpeakerRound
    ) -> tuple[Utterance, ...]:
        """The utterances of this visit, in the order of the source: all of them where they are within the
        limits, else a random part that is; always at least one.

        Args:
            spoken: All that the speaker says.
            longest_seconds: How long an utterance counts whose own length is not known: what the corpus
                admits at most.
        """
        lengths = [
            longest_seconds if one.duration_seconds is None else one.duration_seconds for one in spoken
        ]
        if len(spoken) <= self.utterances and math.fsum(lengths) <= self.seconds:
            return tuple(spoken)
        chosen: list[int] = []
        left = self.seconds
        order = torch.randperm(len(spoken), generator=visit.generator("utterances")).tolist()
        for index in order[: self.utterances]:
            left -= lengths[index]
            if left < 0 and chosen:
                break
            chosen.append(index)
        return tuple(spoken[index] for index in sorted(chosen))
