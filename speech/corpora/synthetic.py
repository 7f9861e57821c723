"""Kind "synthetic": any number of speakers, each made from its number alone when it is asked for.

The path says how many: "100000" speakers, or "100000x5" with 5 utterances each (8 where it does not
say). Nothing is stored and nothing is listed: a million speakers take the memory of one. Splits:
"train", so many of the hard domain of the embedded corpus, and "test", 20 other speakers with
sentences that nobody in "train" says. Needs the extra 'synthesis'.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np

from speech.audio import Recording
from speech.corpus import Corpus, Rules, Utterance, corpus_kind
from speech.errors import CorpusError
from speech.synthesis.effects import SAMPLE_RATE_HZ
from speech.synthesis.plan import DEFAULT_SEED, SplitPlan
from speech.synthesis.voices import HARD
from speech.synthesis.writer import Spoken, speak

UTTERANCES = 8
TEST = SplitPlan(name="test", domain=HARD, speakers=20, utterances=12, held_out=True)
# What the same number sounds like; raised whenever that changes, so that no ledger mistakes one for another.
VERSION = 1


@dataclass(frozen=True)
class Numbered(Sequence[str]):
    """The names "PREFIX0000000", "PREFIX0000001", ... of a range of numbers, made as they are read."""

    prefix: str
    numbers: range

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Numbered": ...
    def __getitem__(self, index: int | slice) -> "str | Numbered":
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        return f"{self.prefix}{self.numbers[index]:07d}"

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, name: object) -> bool:
        return self.number(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (f"{self.prefix}{number:07d}" for number in self.numbers)

    def number(self, name: object) -> int | None:
        """The number behind a name, or None if it is no name of these."""
        digits = name[len(self.prefix) :] if isinstance(name, str) and name.startswith(self.prefix) else ""
        if not re.fullmatch(r"\d{7,}", digits) or f"{int(digits):07d}" != digits:
            return None
        return int(digits) if int(digits) in self.numbers else None


@dataclass(frozen=True, kw_only=True)
class SyntheticCorpus(Corpus):
    """Speakers by number. `spoken` speakers are kept, so that a text and its sound are made once."""

    plans: Mapping[str, SplitPlan]
    seed: int = DEFAULT_SEED

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(sorted(self.plans))

    def speakers(self, split: str) -> Numbered:
        plan = self._plan(split)
        return Numbered(f"{split}-", range(plan.speakers))

    def utterances(self, split: str, speaker: str) -> tuple[Utterance, ...]:
        plan = self._plan(split)
        number = self.speakers(split).number(speaker)
        if number is None:
            raise CorpusError(
                f"{self.name}: split {split!r} has no speaker {speaker!r} (it has {plan.speakers:,})."
            )
        spoken = _spoken(plan, number, self.seed)
        return tuple(
            Utterance(
                id=f"{speaker}-{index:02d}",
                speaker=speaker,
                split=split,
                audio=Path(speaker),
                text=text,
                source=f"{self.name}:{speaker}",
                offset_seconds=start / SAMPLE_RATE_HZ,
                duration_seconds=length / SAMPLE_RATE_HZ,
            )
            for index, (text, start, length) in enumerate(spoken.parts)
        )

    def recording(self, audio: Path) -> Recording:
        split = audio.name.rpartition("-")[0]
        number = self.speakers(split).number(audio.name)
        if number is None:
            raise CorpusError(f"{self.name}: no speaker {audio.name!r}.")
        spoken = _spoken(self._plan(split), number, self.seed)
        return Recording(path=audio, samples=spoken.samples.astype(np.float32), sample_rate_hz=SAMPLE_RATE_HZ)

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((VERSION, self.seed, sorted(self.plans.items()))).encode()).hexdigest()

    def _plan(self, split: str) -> SplitPlan:
        if split not in self.plans:
            known = ", ".join(repr(name) for name in self.splits)
            raise CorpusError(f"{self.name}: no split {split!r}; it has {known}.")
        return self.plans[split]


@corpus_kind("synthetic")
def load(path: str, rules: Rules) -> Corpus:
    """The corpus that `path` describes. Raises `CorpusError` where it describes none."""
    if rules.language != "en":
        raise CorpusError(f"synthetic speakers speak English, not {rules.language!r}: set corpus.language = 'en'.")
    described = re.fullmatch(r"(\d{1,9})(?:x(\d{1,3}))?", path)
    speakers = int(described[1]) if described else 0
    utterances = int(described[2] or UTTERANCES) if described else 0
    if not (speakers and utterances):
        raise CorpusError(
            f"a synthetic corpus is described by its number of speakers, not by {path!r}: "
            "give '100000', or '100000x5' for 5 utterances each, as corpus.path."
        )
    train = SplitPlan(name="train", domain=HARD, speakers=speakers, utterances=utterances)
    return SyntheticCorpus(name=f"synthetic {path}", plans={"train": train, "test": TEST})


@lru_cache(maxsize=4)
def _spoken(plan: SplitPlan, number: int, seed: int) -> Spoken:
    # The speakers of a population do not depend on how many there are.
    return speak(plan, number, seed)
