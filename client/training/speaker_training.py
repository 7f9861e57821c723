"""What is done in the process of the speakers: choose a speaker's speech for a visit, and train on it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from client.training.local_training import LocalTrainer
from client.training.process import Trained
from client.training.speaker_round import SpeakerRound, SpeechLimit
from speech.audio import SAMPLE_RATE_HZ
from speech.data.examples import Example, ExampleStore
from speech.errors import AudioError

NOISE_SECONDS = 10


@dataclass(kw_only=True)
class SpeakerTraining:
    """The `Training` of a node: its examples and its trainer.

    `longest_seconds` is how long an utterance counts whose length the corpus does not say.
    """

    store: ExampleStore
    trainer: LocalTrainer
    limit: SpeechLimit
    longest_seconds: float

    @property
    def frozen(self) -> str:
        """Digest of the parameters that are not trained."""
        return self.trainer.frozen

    def warm_up(self) -> float:
        """Train on noise, so that nobody's visit pays for what torch does only once.

        Returns how many seconds of a processor a speaker takes who has as much speech as a visit may use:
        what a second of audio takes, times that.
        """
        noise = torch.randn(NOISE_SECONDS * SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(0))
        features = self.store.features(noise)
        alphabet = self.store.corpus.alphabet
        example = Example.of("noise", alphabet.characters[0], features, alphabet)
        self.trainer.warm_up(example)
        began = time.process_time()
        self.trainer.warm_up(example)
        per_second = (time.process_time() - began) / NOISE_SECONDS
        return per_second * self.limit.seconds * max(1, self.trainer.settings.epochs)

    def visit(self, visit: SpeakerRound, split: str, vector: Tensor, correction: Tensor | None) -> Trained:
        """Train the speaker of `visit` on what the limit leaves of the speaker's speech.

        Audio that is not used is not read. Raises what reading and training raise, and `AudioError` where no
        audio can be used: the trainer would look for a batch until its time is spent.
        """
        examples = self._examples(visit, split)
        if not examples:
            raise AudioError("no audio of this speaker that the visit would use can be used")
        _, trained = self.trainer.update(vector, examples, visit, correction)
        return trained

    def _examples(self, visit: SpeakerRound, split: str) -> list[Example]:
        spoken = self.store.corpus.utterances(split, visit.speaker)
        chosen = self.limit.choose(spoken, self.longest_seconds, visit)
        if len(chosen) == len(spoken):
            return self.store.examples(split, visit.speaker)
        return self.store.examples_of(chosen)
