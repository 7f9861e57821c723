"""Corpora: speakers with utterances, in splits, at any place.

A recipe names a corpus by kind and path; the loader of that kind (`base.registries.CORPUS_KINDS`) makes it. A
corpus lists what was skipped, with reasons. Its digest names the data set: two machines with the same
speakers, utterances and texts have the same digest, with any paths.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from speech.audio import Recording
from speech.errors import CorpusError
from speech.text import ENGLISH, Alphabet

MAX_SECONDS = 30.0
EVERY_FIELD = "*"
Unspelled = Literal["skip", "map"]
FieldValue = str | int | float


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """An utterance: a segment of a sound file, and its transcript.

    `duration_seconds` None means to the end of the file. `source` is the place that lists the utterance
    ("file:line"), for error messages. `written` is the transcript as it was written, and `fields` are names
    and values of other fields of the source; a loader keeps both only if its rules ask for them.

    Raises:
        CorpusError: For an empty name or text, or an impossible segment.

    Example:
        >>> Utterance(
        ...     id="u1", speaker="ann", split="train", audio=Path("a.wav"), text="turn left", source="list:1"
        ... ).offset_seconds
        0.0
    """

    id: str
    speaker: str
    split: str
    audio: Path
    text: str
    source: str
    offset_seconds: float = 0.0
    duration_seconds: float | None = None
    written: str = ""
    fields: tuple[tuple[str, FieldValue], ...] = ()

    def __post_init__(self) -> None:
        for name in ("id", "speaker", "split", "text"):
            if not getattr(self, name):
                raise CorpusError(f"{self.source}: an utterance's {name} must not be empty.")
        if not (math.isfinite(self.offset_seconds) and self.offset_seconds >= 0):
            raise CorpusError(f"{self.source}: offset {self.offset_seconds} must be >= 0 seconds.")
        length = self.duration_seconds
        if length is not None and not (math.isfinite(length) and length > 0):
            raise CorpusError(f"{self.source}: duration {length} must be > 0 seconds.")

    def field(self, name: str) -> str:
        """Return the value of a field that was kept; "" if it has none."""
        return next((str(value) for own, value in self.fields if own == name), "")

    def identity(self) -> list[object]:
        """Return what identifies its sound: id, audio file (path, size, time of change) and segment."""
        try:
            stat = self.audio.stat()
            state = [stat.st_size, stat.st_mtime_ns]
        except OSError:
            state = []
        return [self.id, str(self.audio.absolute()), *state, self.offset_seconds, self.duration_seconds]


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An utterance that a corpus leaves out, or a speaker without any left, and the reason.

    Example:
        >>> Skipped(source="list:7", reason="the transcript is empty", speaker="ann").speaker
        'ann'
    """

    source: str
    reason: str
    split: str = ""
    speaker: str = ""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which utterances a loader takes; it skips any other, with the reason.

    With `unspelled` "skip", an utterance is left out if its transcript has digits or letters outside the
    `alphabet`. With "map", the normalised transcript is kept, and the utterance counted. `keep_written` and
    `keep_fields` (names, or "*" for all) say what else is kept in memory of each utterance.

    Raises:
        CorpusError: For a value outside its range.

    Example:
        >>> rules = Rules(max_seconds=20.0, keep_fields=("accent",))
        >>> rules.language, rules.unspelled
        ('en', 'skip')
    """

    max_seconds: float = MAX_SECONDS
    alphabet: Alphabet = ENGLISH
    unspelled: Unspelled = "skip"
    keep_written: bool = False
    keep_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.max_seconds > 0:
            raise CorpusError(f"max_seconds={self.max_seconds} must be > 0.")
        if self.unspelled not in get_args(Unspelled):
            raise CorpusError(f"unspelled={self.unspelled!r} must be 'skip' or 'map'.")

    @property
    def language(self) -> str:
        """The code of the language that is spoken."""
        return self.alphabet.language


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Utterances by split and speaker. Each speaker of a split has at least one utterance there.

    `mapped` lists the utterances that were kept although their transcript lost characters.

    Example:
        >>> spoken = Utterance(
        ...     id="u1", speaker="ann", split="train", audio=Path("a.wav"), text="turn left", source="list:1"
        ... )
        >>> corpus = Corpus.of("mine", [spoken])
        >>> corpus.splits, corpus.speakers("train"), corpus.utterances("train", "ann")[0].text
        (('train',), ('ann',), 'turn left')
    """

    name: str
    table: Mapping[str, Mapping[str, tuple[Utterance, ...]]]
    alphabet: Alphabet = ENGLISH
    skipped: tuple[Skipped, ...] = ()
    mapped: tuple[Skipped, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        utterances: Iterable[Utterance],
        skipped: Iterable[Skipped] = (),
        *,
        alphabet: Alphabet = ENGLISH,
        mapped: Iterable[Skipped] = (),
    ) -> "Corpus":
        """Group utterances by split and speaker.

        Raises:
            CorpusError: For a repeated id, a text that is not normalised, or no utterance at all.
        """
        table: dict[str, dict[str, list[Utterance]]] = {}
        sources: dict[str, str] = {}
        for utterance in utterances:
            if utterance.id in sources:
                first = sources[utterance.id]
                raise CorpusError(f"{utterance.source}: the id {utterance.id!r} was used before, at {first}.")
            sources[utterance.id] = utterance.source
            _require_normalised(utterance, alphabet)
            speakers = table.setdefault(utterance.split, {})
            speakers.setdefault(utterance.speaker, []).append(utterance)
        left_out = tuple(skipped)
        if not table:
            raise CorpusError(f"{name}: no usable utterance{_first_reason(left_out)}.")
        return cls(name=name, table=_frozen(table), alphabet=alphabet, skipped=left_out, mapped=tuple(mapped))

    @property
    def language(self) -> str:
        """The code of the language that is spoken."""
        return self.alphabet.language

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, sorted."""
        return tuple(self.table)

    def speakers(self, split: str) -> Sequence[str]:
        """Return the speakers of a split, sorted: their order is the same on every machine."""
        return tuple(self._speakers(split))

    def has_speaker(self, split: str, speaker: str) -> bool:
        """Return whether the split has this speaker."""
        return speaker in self._speakers(split)

    def recording(self, audio: Path) -> Recording:
        """Return the recording that holds utterances.

        Raises:
            AudioError: If it cannot be read.
        """
        return Recording.read(audio)

    def utterances(self, split: str, speaker: str) -> tuple[Utterance, ...]:
        """Return the utterances of a speaker, in the order of the source."""
        speakers = self._speakers(split)
        if speaker not in speakers:
            raise CorpusError(
                f"{self.name}: split {split!r} has no speaker {speaker!r} (it has {len(speakers)} others)."
            )
        return speakers[speaker]

    def all_utterances(self) -> Iterator[Utterance]:
        """Yield every utterance, by split and speaker."""
        for speakers in self.table.values():
            for utterances in speakers.values():
                yield from utterances

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over splits, speakers, utterance ids and texts: names the data set."""
        return self._digests[0]

    @property
    def speaker_key(self) -> str:
        """A second digest, which only holders of the corpus can compute: the key of its pseudonyms."""
        return self._digests[1]

    @cached_property
    def _digests(self) -> tuple[str, str]:
        public, secret = hashlib.sha256(), hashlib.sha256(b"pseudonyms of the speakers of ")
        for split, speakers in self.table.items():
            for speaker, utterances in speakers.items():
                rows = [[split, speaker, u.id, u.text] for u in utterances]
                line = json.dumps(sorted(rows)).encode()
                public.update(line)
                secret.update(line)
        return public.hexdigest(), secret.hexdigest()

    def _speakers(self, split: str) -> Mapping[str, tuple[Utterance, ...]]:
        if split not in self.table:
            known = ", ".join(repr(name) for name in self.table)
            raise CorpusError(f"{self.name}: no split {split!r}; it has {known}.")
        return self.table[split]


def _frozen(
    table: Mapping[str, Mapping[str, list[Utterance]]],
) -> dict[str, dict[str, tuple[Utterance, ...]]]:
    """Return the table with splits and speakers in sorted order."""
    return {
        split: {speaker: tuple(table[split][speaker]) for speaker in sorted(table[split])}
        for split in sorted(table)
    }


def _require_normalised(utterance: Utterance, alphabet: Alphabet) -> None:
    try:
        alphabet.encode(utterance.text)
    except ValueError as error:
        raise CorpusError(f"{utterance.source}: {error}") from None


def _first_reason(skipped: tuple[Skipped, ...]) -> str:
    if not skipped:
        return ""
    return f"; {len(skipped)} were skipped, the first: {skipped[0].source}: {skipped[0].reason}"
