"""Kind "synthetic": any number of speakers, each made on demand from its number alone.

The path gives the number: "100000" speakers, or "100000x5" with 5 utterances each (8 by default).
"100000x5@3f9a" are the speakers of another population, numbered in hexadecimal: populations share no speaker.
"100000x5@new" is a population that no run has used; `murmur run` draws its number and writes it into the path
(`with_fresh_population`). Nothing is stored and nothing is listed: a million speakers take the memory of one.

Splits: "train" has speakers of the hard domain of the embedded corpus. "test" has 20 other speakers, with
sentences that no speaker of "train" says; they belong to no population, and are the same for all populations.
"""

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from speech.audio import SAMPLE_RATE_HZ, Recording
from speech.corpora.corpus import Corpus, Rules, Utterance
from speech.errors import CorpusError
from speech.synthesis.plan import DEFAULT_SEED, SplitPlan
from speech.synthesis.voices import HARD

if TYPE_CHECKING:
    from speech.synthesis.writer import Spoken

UTTERANCES = 8
TEST = SplitPlan(name="test", domain=HARD, speakers=20, utterances=12, held_out=True)
# Raised when the sound of a number changes, so that ledgers tell the speakers apart.
VERSION = 2
FRESH = "@new"
_NUMBERED = 1 << 64  # where the seeds of numbered populations begin, beyond DEFAULT_SEED
_POPULATION_BYTES = 8
_PATH = re.compile(
    r"(?P<speakers>\d{1,9})(?:x(?P<utterances>\d{1,3}))?(?:@(?P<population>[0-9a-fA-F]{1,16}))?"
)


@dataclass(frozen=True)
class Numbered(Sequence[str]):
    """The names "PREFIX0000000", "PREFIX0000001", ... of a range of numbers, made on demand.

    Example:
        >>> names = Numbered("train-", range(1_000_000))
        >>> names[7], len(names), "train-0999999" in names
        ('train-0000007', 1000000, True)
    """

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
        """Return the number of a name, or None if it is none of these names."""
        digits = name[len(self.prefix) :] if isinstance(name, str) and name.startswith(self.prefix) else ""
        if not re.fullmatch(r"\d{7,}", digits) or f"{int(digits):07d}" != digits:
            return None
        return int(digits) if int(digits) in self.numbers else None


@dataclass(frozen=True)
class Speakers(Mapping[str, tuple[Utterance, ...]]):
    """The utterances of the speakers of a split, made on demand.

    Example:
        >>> speakers = Speakers(TEST)
        >>> len(speakers), list(speakers)[:2]
        (20, ['test-0000000', 'test-0000001'])
    """

    plan: SplitPlan
    seed: int = DEFAULT_SEED

    @property
    def names(self) -> Numbered:
        """The names of the speakers, in order."""
        return Numbered(f"{self.plan.name}-", range(self.plan.speakers))

    def __getitem__(self, speaker: str) -> tuple[Utterance, ...]:
        return tuple(
            Utterance(
                id=f"{speaker}-{index:02d}",
                speaker=speaker,
                split=self.plan.name,
                audio=Path(speaker),
                text=text,
                source=f"synthetic speaker {speaker}",
                offset_seconds=start / SAMPLE_RATE_HZ,
                duration_seconds=length / SAMPLE_RATE_HZ,
            )
            for index, (text, start, length) in enumerate(_parts(self.plan, self._number(speaker), self.seed))
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, speaker: object) -> bool:
        return speaker in self.names

    def spoken(self, speaker: str) -> "Spoken":
        """Return all utterances of a speaker, as one recording.

        Raises:
            KeyError: If the split has no such speaker.
        """
        return _spoken(self.plan, self._number(speaker), self.seed)

    def _number(self, speaker: str) -> int:
        number = self.names.number(speaker)
        if number is None:
            raise KeyError(speaker)
        return number


class SyntheticCorpus(Corpus):
    """A corpus whose table makes its speakers on demand, and names them without making them.

    Example:
        >>> corpus = load("1000x5@3f9a", Rules())
        >>> len(corpus.speakers("train")), corpus.speakers("test")[0]
        (1000, 'test-0000000')
    """

    table: Mapping[str, Speakers]

    def speakers(self, split: str) -> Numbered:
        """Return the names of the speakers of a split."""
        self._speakers(split)  # raises if there is no such split
        return self.table[split].names

    def recording(self, audio: Path) -> Recording:
        """Make the recording of the speaker of this name."""
        split = audio.name.rpartition("-")[0]
        samples = self.table[split].spoken(audio.name).samples.astype(np.float32)
        return Recording(path=audio, samples=samples, sample_rate_hz=SAMPLE_RATE_HZ)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that determines the speakers."""
        return hashlib.sha256(repr((VERSION, sorted(self.table.items()))).encode()).hexdigest()


def load(path: str, rules: Rules) -> Corpus:
    """Return the corpus that `path` describes.

    Raises:
        CorpusError: If it describes none.
    """
    if rules.language != "en":
        raise CorpusError(
            f"synthetic speakers speak English, not {rules.language!r}: set corpus.language = 'en'."
        )
    if path.endswith(FRESH):
        raise CorpusError(
            f"{path!r} is a population that is not drawn yet, as `murmur run` does; give its number "
            f"in hexadecimal, as in '100000x5@{secrets.token_hex(_POPULATION_BYTES)}'."
        )
    described = _PATH.fullmatch(path)
    speakers = int(described["speakers"]) if described else 0
    utterances = int(described["utterances"] or UTTERANCES) if described else 0
    if not (described and speakers and utterances):
        raise CorpusError(
            f"a synthetic corpus is given by its number of speakers, not by {path!r}: "
            "give '100000', or '100000x5' for 5 utterances each, or '100000x5@3f9a' for population 3f9a of "
            "them, as corpus.path."
        )
    seed = _NUMBERED + int(described["population"], 16) if described["population"] else DEFAULT_SEED
    train = SplitPlan(name="train", domain=HARD, speakers=speakers, utterances=utterances)
    table = {TEST.name: Speakers(TEST), train.name: Speakers(train, seed)}
    return SyntheticCorpus(name=f"synthetic {path}", table=table)


def with_fresh_population(path: str) -> str:
    """Replace "@new" at the end of `path` by the number of a new random population.

    The number has 64 random bits: the probability that two runs draw the same one is negligible.
    """
    if not path.endswith(FRESH):
        return path
    return f"{path.removesuffix(FRESH)}@{secrets.token_hex(_POPULATION_BYTES)}"


def without_population(path: str) -> str:
    """Return `path` without the number of the population."""
    return path.partition("@")[0]


# A speaker's texts and sound are needed one after the other, and made once.
@lru_cache(maxsize=2)
def _spoken(plan: SplitPlan, number: int, seed: int) -> "Spoken":
    # Imported here: it loads scipy's signal module, which is slow, and which other corpora do not need.
    from speech.synthesis.writer import speak

    return speak(plan, number, seed)


# Where features are kept, a speaker of a later round needs no sound: a kilobyte is kept in its place.
@lru_cache(maxsize=4096)
def _parts(plan: SplitPlan, number: int, seed: int) -> tuple[tuple[str, int, int], ...]:
    return _spoken(plan, number, seed).parts
