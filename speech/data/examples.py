"""Examples: the features and tokens of utterances, computed once.

They are kept in memory and, with a `FeatureCache`, on disk for other processes and for the next run.

Guarantee: an utterance whose audio cannot be used is left out and listed (`ExampleStore.skipped`); the
speaker keeps the others, and the run continues.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from speech.audio import Recording
from speech.corpora.corpus import Corpus, Skipped, Utterance
from speech.data.feature_cache import FeatureCache, FeaturesOrFault, Passing
from speech.errors import AudioError, AudioUnavailable
from speech.features.front_end import FrontEnd
from speech.text import ENGLISH, Tokeniser

CACHE_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """Features (T, width) float32 and tokens (S,) int64 of one utterance with the transcript `text`.

    `shortest` is the number of encoder frames that CTC needs for the tokens: one each, and a blank between
    two equal ones.

    Example:
        >>> example = Example.of("u1", "all", torch.zeros(50, 40))
        >>> example.tokens.tolist(), example.shortest
        ([0, 11, 11], 4)
    """

    id: str
    text: str
    features: Tensor
    tokens: Tensor
    shortest: int

    @classmethod
    def of(cls, id: str, text: str, features: Tensor, tokeniser: Tokeniser = ENGLISH) -> "Example":
        """Make an example from a normalised text.

        Raises:
            ValueError: For a character outside the alphabet.
        """
        tokens = tokeniser.encode(text)
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
        """The memory of the tensors."""
        return self.features.nbytes + self.tokens.nbytes


class ExampleStore:
    """The examples of a corpus by speaker, computed on first use, for a model's front end and tokeniser.

    Without a tokeniser, tokens are the characters of the corpus' alphabet.

    Above `cache_bytes` of memory, the least recently used speakers are dropped; `disk` keeps their features.
    The tensors are shared between calls: they must not be changed.

    Example:
        >>> from base.registries import MODEL_PRESETS
        >>> from speech.corpora.loading import load_corpus
        >>> store = ExampleStore(load_corpus("embedded", ""), MODEL_PRESETS["tiny"].features)
        >>> examples = store.examples("test", "test-000")
        >>> len(examples), examples[0].features.shape[1]
        (12, 40)
    """

    def __init__(
        self,
        corpus: Corpus,
        front_end: FrontEnd,
        *,
        tokeniser: Tokeniser | None = None,
        cache_bytes: int = CACHE_BYTES,
        disk: FeatureCache | None = None,
    ) -> None:
        self.corpus = corpus
        self.front_end = front_end
        self.tokeniser = tokeniser or corpus.alphabet
        self._extractor = front_end.extractor()
        self._disk = disk
        self._cache: OrderedDict[tuple[str, str], list[Example]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._held_bytes = 0
        self._skipped: dict[str, Skipped] = {}

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The utterances so far whose audio cannot be used, with reasons."""
        return tuple(self._skipped.values())

    @property
    def on_disk(self) -> bool:
        """Whether features are on a disk, where other processes find them."""
        return self._disk is not None

    def examples(self, split: str, speaker: str) -> list[Example]:
        """Return the usable examples of a speaker, in the order of the corpus; empty if there is none.

        Raises:
            CorpusError: For a split or speaker that the corpus does not have.
        """
        key = (split, speaker)
        if key in self._cache:
            self._cache.move_to_end(key)
            return list(self._cache[key])
        utterances = self.corpus.utterances(split, speaker)
        results = self._results(utterances)
        examples = list(self._made(utterances, results))
        # A fault of the machine may be gone the next time.
        if not any(isinstance(one, Passing) for one in results):
            self._keep(key, examples)
        return list(examples)

    def examples_of(self, utterances: Sequence[Utterance]) -> list[Example]:
        """Return the usable examples of some utterances: only their audio is read, and nothing is kept."""
        return list(self._made(utterances, list(self._compute(utterances))))

    def features(self, waveform: Tensor) -> Tensor:
        """Compute the input (T, width) of a waveform (n,) at the front end's rate."""
        return self._extractor(waveform)

    def split_examples(
        self, split: str, on_features: Callable[[int, int], None] = lambda done, of: None
    ) -> list[Example]:
        """Return all usable examples of a split, speaker by speaker.

        `on_features` is called with the speakers so far, and with all speakers of the split.
        """
        examples: list[Example] = []
        speakers = self.corpus.speakers(split)
        for done, speaker in enumerate(speakers, start=1):
            examples += self.examples(split, speaker)
            on_features(done, len(speakers))
        return examples

    def audio_seconds(self, split: str, examples: Iterable[Example]) -> float:
        """Return the seconds of audio in some examples of a split.

        Each counts with the length of its utterance in the corpus, or with that of its features where these
        are shorter, or the corpus does not know it. (Features can be longer: some models get silence too.)
        """
        hop, known = self.front_end.hop_seconds, {}
        for speaker in self.corpus.speakers(split):
            known.update({one.id: one.duration_seconds for one in self.corpus.utterances(split, speaker)})
        return math.fsum(
            min(len(example.features) * hop, known[example.id] or math.inf) for example in examples
        )

    def _made(self, utterances: Sequence[Utterance], results: Sequence[FeaturesOrFault]) -> Iterator[Example]:
        for utterance, features in zip(utterances, results, strict=True):
            if isinstance(features, str):
                self._skipped[utterance.source] = Skipped(
                    source=utterance.source,
                    reason=features,
                    split=utterance.split,
                    speaker=utterance.speaker,
                )
            else:
                yield Example.of(utterance.id, utterance.text, features, self.tokeniser)

    def _results(self, utterances: Sequence[Utterance]) -> list[FeaturesOrFault]:
        if self._disk is None:
            return list(self._compute(utterances))
        file = self._disk.file_of(utterances)
        results = self._disk.load(file)
        if results is None:
            results = list(self._compute(utterances))
            self._disk.save(file, results)
            # Memory-mapped features are shared by all processes.
            results = self._disk.load(file) or results
        return results

    def _compute(self, utterances: Iterable[Utterance]) -> Iterator[FeaturesOrFault]:
        """Yield the features of each utterance, or why its audio cannot be used."""
        recording: Recording | None = None
        for utterance in utterances:
            try:
                # Neighbours are often in one file, which is decoded once.
                if recording is None or recording.path != utterance.audio:
                    recording = self.corpus.recording(utterance.audio)
                waveform = recording.segment(
                    utterance.offset_seconds,
                    utterance.duration_seconds,
                    sample_rate_hz=self.front_end.sample_rate_hz,
                )
                yield self._extractor(waveform)
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
