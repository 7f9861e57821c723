"""Builds a corpus from the utterances of a source: one rule of what is usable, for every layout on disk.

A bad utterance is skipped, with its place and its reason; so is a speaker without a usable utterance. No
audio is decoded: a file must exist, and its header gives its length.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speech.corpora.corpus import EVERY_FIELD, Corpus, FieldValue, Rules, Skipped, Utterance
from speech.errors import AudioError
from speech.sound_files import audio_duration_seconds
from speech.text import Alphabet


@dataclass(kw_only=True)
class CorpusBuilder:
    """Collects the utterances of the corpus `name`, and skips those that cannot be used.

    Guarantee: whether an utterance is taken does not depend on other speakers. An id that another speaker has
    is prefixed by the speaker, because ids are unique in a corpus.

    Example:
        >>> builder = CorpusBuilder(name="mine", rules=Rules())
        >>> builder.skip(source="list:1", reason="there is no transcript", split="train", speaker="ann")
        >>> builder.corpus()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        speech.errors.CorpusError: mine: no usable utterance; 2 were skipped, the first: list:1: ...
    """

    name: str
    rules: Rules
    _utterances: list[Utterance] = field(default_factory=list)
    _skipped: list[Skipped] = field(default_factory=list)
    _mapped: list[Skipped] = field(default_factory=list)
    _seen: dict[tuple[str, str], str] = field(default_factory=dict)
    _ids: set[str] = field(default_factory=set)
    _speakers: dict[tuple[str, str], str] = field(default_factory=dict)
    _exists: dict[Path, bool] = field(default_factory=dict)

    def add(
        self,
        *,
        id: str,
        speaker: str,
        split: str,
        audio: Path,
        text: str,
        source: str,
        offset_seconds: float = 0.0,
        duration_seconds: float | None = None,
        written: str = "",
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take an utterance, or skip it with a reason.

        Args:
            id: Its name, which no other utterance of the speaker has.
            speaker: The speaker.
            split: The split of the corpus.
            audio: The sound file.
            text: The transcript, as it was written.
            source: Where it is listed ("file:line"), for messages.
            offset_seconds: Where it begins in the file.
            duration_seconds: Its length; None: to the end of the file.
            written: The transcript before another program normalised it; by default `text`.
            fields: What else the source says of it; what the rules ask for is kept.
        """
        self._speakers.setdefault((_written(split), _written(speaker)), source)
        reason = (
            _unwritable(split, speaker)
            or self._repeated(speaker, id, source)
            or self._unusable_text(text)
            or self._unusable_length(duration_seconds)
            or self._unusable_file(audio)
        )
        if reason:
            self.skip(source=source, reason=reason, split=split, speaker=speaker)
            return
        lost = self._alphabet.unspelled(text)
        if lost:
            self._mapped.append(
                Skipped(source=source, reason=_outside(lost, self.rules), split=split, speaker=speaker)
            )
        self._utterances.append(
            Utterance(
                id=self._of_one(speaker, id),
                speaker=speaker,
                split=split,
                audio=audio,
                text=self._alphabet.normalise(text),
                source=source,
                offset_seconds=offset_seconds,
                duration_seconds=duration_seconds,
                written=(written or text) if self.rules.keep_written else "",
                fields=self._kept(fields or {}),
            )
        )

    def add_file(self, *, id: str, speaker: str, split: str, audio: Path, text: str, source: str) -> None:
        """Take a whole file as an utterance, or skip it with a reason; the length is that of its header."""
        try:
            duration = audio_duration_seconds(audio)
        except AudioError as error:
            self.skip(source=source, reason=str(error), split=split, speaker=speaker)
            return
        self.add(
            id=id,
            speaker=speaker,
            split=split,
            audio=audio,
            text=text,
            source=source,
            duration_seconds=duration,
        )

    def skip(self, *, source: str, reason: str, split: str = "", speaker: str = "") -> None:
        """Leave out one utterance."""
        split, speaker = _written(split), _written(speaker)
        if speaker:
            self._speakers.setdefault((split, speaker), source)
        self._skipped.append(Skipped(source=source, reason=reason, split=split, speaker=speaker))

    def corpus(self) -> Corpus:
        """Return the corpus.

        Raises:
            CorpusError: If no utterance is usable.
        """
        usable = {(utterance.split, utterance.speaker) for utterance in self._utterances}
        for (split, speaker), source in self._speakers.items():
            if (split, speaker) not in usable:
                reason = f"speaker {speaker!r} of split {split!r} has no usable utterance"
                self.skip(source=source, reason=reason, split=split, speaker=speaker)
        return Corpus.of(
            self.name,
            self._utterances,
            self._skipped,
            alphabet=self.rules.alphabet,
            mapped=self._mapped,
        )

    @property
    def _alphabet(self) -> Alphabet:
        return self.rules.alphabet

    def _kept(self, fields: Mapping[str, Any]) -> tuple[tuple[str, FieldValue], ...]:
        """Return the fields that the rules ask for; equal names and values are in memory once."""
        wanted = self.rules.keep_fields
        if not wanted:
            return ()
        return tuple(
            (sys.intern(name), sys.intern(value) if isinstance(value, str) else value)
            for name, value in fields.items()
            if (EVERY_FIELD in wanted or name in wanted) and isinstance(value, str | int | float)
        )

    def _repeated(self, speaker: str, id: str, source: str) -> str | None:
        if (speaker, id) in self._seen:
            return f"the id {id!r} was used before, at {self._seen[speaker, id]}"
        self._seen[speaker, id] = source
        return None

    def _of_one(self, speaker: str, id: str) -> str:
        """Return the id, or a unique one if another speaker has it."""
        while id in self._ids:
            id = f"{speaker}/{id}"
        self._ids.add(id)
        return id

    def _unusable_file(self, audio: Path) -> str | None:
        if audio not in self._exists:
            self._exists[audio] = audio.is_file()
        return None if self._exists[audio] else f"no such audio file: {audio}"

    def _unusable_length(self, duration_seconds: float | None) -> str | None:
        if duration_seconds is None or 0 < duration_seconds <= self.rules.max_seconds:
            return None
        if duration_seconds <= 0:
            return f"its duration is {duration_seconds:g} s"
        return f"{duration_seconds:g} s is longer than max_seconds={self.rules.max_seconds:g}"

    def _unusable_text(self, text: str) -> str | None:
        lost = self._alphabet.unspelled(text)
        if lost and self.rules.unspelled == "skip":
            return f"{_outside(lost, self.rules)}; spell it out"
        return None if self._alphabet.normalise(text) else "the transcript is empty"


def _unwritable(*names: str) -> str | None:
    """Refuse half a character, which JSON can hold: it fails wherever the name is written or hashed."""
    if any(_written(name) != name for name in names):
        return "its split or its speaker is no Unicode text"
    return None


def _written(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def _outside(lost: str, rules: Rules) -> str:
    return f"the transcript has {lost!r}, outside the {rules.alphabet.blank} characters"
