"""The work of the speaker process: choose a speaker's speech for a round, and train on it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from client.training.local_training import LocalTrainer
from client.training.process_messages import Trained
from client.training.speaker_round import SpeakerRound, SpeechLimit
from speech.audio import SAMPLE_RATE_HZ
from speech.data.examples import Example, ExampleStore
from speech.errors import AudioError

NOISE_SECONDS = 10


@dataclass(kw_only=True)
class SpeakerTraining:
    """The `Training` of a node: its examples and its trainer.

    `longest_seconds` counts as the length of an utterance whose length the corpus does not give.
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
        """Train on noise, so that no speaker pays for what torch does only once.

        Returns:
            The processor seconds that a speaker with the maximum of speech takes here: the time for the input
            and the training of a second of audio, times that maximum.
        """
        noise = torch.randn(NOISE_SECONDS * SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(0))
        text = self.store.corpus.alphabet.characters[0]
        example = Example.of("noise", text, self.store.features(noise), self.store.tokeniser)
        self.trainer.warm_up(example)
        began = time.process_time()
        self.store.features(noise)
        once = time.process_time() - began
        self.trainer.warm_up(example)
        step = time.process_time() - began - once
        per_second = (once + step * max(1, self.trainer.settings.epochs)) / NOISE_SECONDS
        return per_second * self.limit.seconds

    def train(
        self, speaker_round: SpeakerRound, split: str, vector: Tensor, correction: Tensor | None
    ) -> Trained:
        """Train one speaker on the part of the speech that the limit allows; no other audio is read.

        Raises:
            AudioError: If no audio can be used: the trainer would look for a batch until its time is over.
            Exception: What reading and training raise.
        """
        examples = self._examples(speaker_round, split)
        if not examples:
            raise AudioError("none of the audio that this speaker's round would use can be used")
        _, trained = self.trainer.update(vector, examples, speaker_round, correction)
        return trained

    def _examples(self, speaker_round: SpeakerRound, split: str) -> list[Example]:
        everything = self.store.corpus.utterances(split, speaker_round.speaker)
        chosen = self.limit.choose(everything, self.longest_seconds, speaker_round)
        if len(chosen) == len(everything):
            return self.store.examples(split, speaker_round.speaker)
        return self.store.examples_of(chosen)
