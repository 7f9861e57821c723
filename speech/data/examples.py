"""Examples: utterances as a model takes them, features and tokens, kept once computed.

In memory, and with a `FeatureCache` on disk too, for the other processes of the machine and the next run.

One utterance whose audio cannot be used is left out and counted (`ExampleStore.skipped`); it never
costs a speaker the others, nor a run its life.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from speech.audio import Recording
from speech.corpora.corpus import Corpus, Skipped, Utterance
from speech.data.feature_cache import FeatureCache, Passing, UtteranceResult
from speech.errors import AudioError, AudioUnavailable
from speech.features.log_mel import FeatureConfig, LogMel
from speech.text import ENGLISH, Alphabet

CACHE_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """Features (T, mels) float32 and tokens (S,) int64 of one utterance with the text `text`.

    `shortest` is the number of encoder frames that CTC needs for the tokens: one each, and a blank
    between two that are equal.
    """

    id: str
    text: str
    features: Tensor
    tokens: Tensor
    shortest: int

    @classmethod
    def of(cls, id: str, text: str, features: Tensor, alphabet: Alphabet = ENGLISH) -> "Example":
        """Make one from a normalised text. Raises `ValueError` for a foreign character."""
        tokens = alphabet.encode(text)
        repeats = sum(a == b for a, b in pairwise(tokens))
        return cls(
            id=id,
            text=text,
            features=features,
            tokens=torch.tensor(tokens, dtype=torch.int64),
            shortest=len(tokens) + repeats,
        )

    @property
    def nbytes(self) -> int:
        """Memory that the tensors take."""
        return self.features.nbytes + self.tokens.nbytes


class ExampleStore:
    """Examples of a corpus by speaker, computed on first use.

    Speakers asked for least recently are forgotten once `cache_bytes` of memory are passed; `disk` keeps
    their features. The tensors are shared between calls: read them, do not write them.
    """

    def __init__(
        self,
        corpus: Corpus,
        feature_config: FeatureConfig,
        *,
        cache_bytes: int = CACHE_BYTES,
        disk: FeatureCache | None = None,
    ) -> None:
        self.corpus = corpus
        self._log_mel = LogMel(feature_config)
        self._disk = disk
        self._cache: OrderedDict[tuple[str, str], list[Example]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._held_bytes = 0
        self._skipped: dict[str, Skipped] = {}

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Utterances met so far whose audio could not be used, and why."""
        return tuple(self._skipped.values())

    @property
    def on_disk(self) -> bool:
        """Whether features are kept on a disk, where other processes find them."""
        return self._disk is not None

    @property
    def hop_seconds(self) -> float:
        """The time between two frames of an example's features."""
        return self._log_mel.config.hop_seconds

    def examples(self, split: str, speaker: str) -> list[Example]:
        """One speaker's usable examples, in the corpus' order; empty if none can be used.

        Raises `CorpusError` for a split or speaker that the corpus does not have.
        """
        key = (split, speaker)
        if key in self._cache:
            self._cache.move_to_end(key)
            return list(self._cache[key])
        utterances = self.corpus.utterances(split, speaker)
        heard = self._heard(utterances)
        examples = list(self._made(utterances, heard))
        if not any(
            isinstance(one, Passing) for one in heard
        ):  # what the machine lacked may be there next time
            self._keep(key, examples)
        return list(examples)

    def examples_of(self, utterances: Sequence[Utterance]) -> list[Example]:
        """The usable examples of a part of what a speaker says: only its audio is read, and nothing kept."""
        return list(self._made(utterances, list(self._hear(utterances))))

    def features(self, waveform: Tensor) -> Tensor:
        """Features (T, mels) of a waveform (n,) at the configuration's rate."""
        return self._log_mel(waveform)

    def split_examples(self, split: str) -> list[Example]:
        """All usable examples of a split, speaker by speaker."""
        return [
            example for speaker in self.corpus.speakers(split) for example in self.examples(split, speaker)
        ]

    def _made(self, utterances: Sequence[Utterance], heard: Sequence[UtteranceResult]) -> Iterator[Example]:
        for utterance, features in zip(utterances, heard, strict=True):
            if isinstance(features, str):
                self._skipped[utterance.source] = Skipped(
                    source=utterance.source,
                    reason=features,
                    split=utterance.split,
                    speaker=utterance.speaker,
                )
            else:
                yield Example.of(utterance.id, utterance.text, features, self.corpus.alphabet)

    def _heard(self, utterances: Sequence[Utterance]) -> list[UtteranceResult]:
        if self._disk is None:
            return list(self._hear(utterances))
        place = self._disk.place(utterances)
        heard = self._disk.load(place)
        if heard is None:
            heard = list(self._hear(utterances))
            self._disk.save(place, heard)
            # Mapped, they are no memory of this process alone.
            heard = self._disk.load(place) or heard
        return heard

    def _hear(self, utterances: Iterable[Utterance]) -> Iterator[UtteranceResult]:
        """The features of each utterance, or why its audio cannot be used."""
        recording: Recording | None = None
        for utterance in utterances:
            try:
                # Neighbours often lie in one file: it is decoded once.
                if recording is None or recording.path != utterance.audio:
                    recording = self.corpus.recording(utterance.audio)
                waveform = recording.segment(
                    utterance.offset_seconds,
                    utterance.duration_seconds,
                    sample_rate_hz=self._log_mel.config.sample_rate_hz,
                )
                yield self._log_mel(waveform)
            except AudioUnavailable as error:
                yield Passing(error)
            except AudioError as error:
                yield str(error)

    def _keep(self, key: tuple[str, str], examples: list[Example]) -> None:
        self._cache[key] = examples
        self._held_bytes += _bytes(examples)
        while self._held_bytes > self._cache_bytes and len(self._cache) > 1:
            _, forgotten = self._cache.popitem(last=False)
            self._held_bytes -= _bytes(forgotten)


def _bytes(examples: Iterable[Example]) -> int:
    return sum(example.nbytes for example in examples)
