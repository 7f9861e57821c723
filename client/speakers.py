"""What is done in the process of the speakers: choose a speaker's speech for a visit, and train on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from client.local_training import LocalTrainer
from client.speaker_process import Trained
from client.visit import Visit, VisitLimit
from speech.examples import Example, ExampleStore


@dataclass(kw_only=True)
class SpeakerTraining:
    """The `Training` of a node: its examples and its trainer.

    `longest_seconds` is how long an utterance counts whose length the corpus does not say.
    """

    store: ExampleStore
    trainer: LocalTrainer
    limit: VisitLimit
    longest_seconds: float

    @property
    def frozen(self) -> str:
        """Digest of the parameters that are not trained."""
        return self.trainer.frozen

    def warm_up(self) -> None:
        """Train once on a second of noise, so that nobody's visit pays for what torch does only once."""
        noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
        self.trainer.warm_up(Example.of("noise", "a", self.store.features(noise), self.store.corpus.alphabet))

    def visit(self, visit: Visit, split: str, vector: Tensor, correction: Tensor | None) -> Trained:
        """Train the speaker of `visit` on what the limit leaves of the speaker's speech.

        Audio that is not used is not read. Raises what reading and training raise.
        """
        _, trained = self.trainer.update(vector, self._examples(visit, split), visit, correction)
        return trained

    def _examples(self, visit: Visit, split: str) -> list[Example]:
        spoken = self.store.corpus.utterances(split, visit.speaker)
        chosen = self.limit.choose(spoken, self.longest_seconds, visit)
        if len(chosen) == len(spoken):
            return self.store.examples(split, visit.speaker)
        return self.store.examples_of(chosen)
