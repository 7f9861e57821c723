"""Evaluation on held-out speakers at the server: this speech is public, so it costs no privacy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recipes import ConfigError, corpus_path, feature_cache
from recipes.sections import CorpusSection, RunSection
from server.overlaps import HeldOutSpeakers
from speech.corpora.loading import load_corpus
from speech.corpora.speakers import require_disjoint, shared_speakers
from speech.data.examples import Example, ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.evaluation.evaluation import Evaluation, assess, evaluate, written_of
from speech.evaluation.kept_batches import KeptBatches, key_of
from speech.evaluation.normalisers import CHARACTERS, needs_written
from speech.model.compute import Compute
from speech.model.recogniser import Recogniser
from wire import pseudonyms
from wire.pseudonyms import split_tokens, tokens_of


@dataclass(frozen=True, kw_only=True)
class EvaluationPlace:
    """Where the server evaluates: a device of torch, and the threads of a CPU.

    Example:
        >>> EvaluationPlace(threads=4).device
        'cpu'
    """

    device: str = "cpu"
    threads: int = 1

    @classmethod
    def of(cls, section: RunSection) -> EvaluationPlace:
        """Return the place that a recipe names.

        Raises:
            ConfigError: If there is no such device.
        """
        try:
            Compute.choose(device=section.evaluation_device)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"run.evaluation-device: {error}") from None
        return cls(device=section.evaluation_device, threads=section.evaluation_threads)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Use these threads for the block."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @contextmanager
    def model(self, model: Recogniser) -> Iterator[Recogniser]:
        """Give the model for the block, or a copy on the device; the threads are restored after it."""
        with self.computing():
            yield model if self.device == "cpu" else deepcopy(model).to(self.device)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out speech: one split of a corpus, as the input of a model; and what error rates compare.

    `share` of the utterances is what `look` reads.
    """

    store: ExampleStore
    split: str
    normaliser: str = CHARACTERS
    place: EvaluationPlace = EvaluationPlace()
    share: float = 1.0

    @classmethod
    def of(
        cls,
        section: CorpusSection,
        model: Recogniser,
        place: EvaluationPlace | None = None,
        share: float = 1.0,
    ) -> HeldOut:
        """Load the test split, for this model.

        Raises:
            CorpusError: If the corpus cannot be loaded, has no such split, or has speakers in two splits
                without `corpus.shared-speakers`.
        """
        path, written = corpus_path(section.kind, section.path), needs_written(section.normaliser)
        corpus = load_corpus(section.kind, path, **section.rules, keep_written=written)
        corpus.speakers(section.test_split)  # raises if there is no such split
        if not section.shared_speakers:
            require_disjoint(corpus)
        disk, front_end = None, model.front_end
        if section.feature_cache:
            disk = FeatureCache.if_possible(feature_cache(), corpus, front_end)
        store = ExampleStore(corpus, front_end, tokeniser=model.tokeniser, disk=disk)
        return cls(
            store=store,
            split=section.test_split,
            normaliser=section.normaliser,
            place=place or EvaluationPlace(),
            share=share,
        )

    def held_out_speakers(self, section: CorpusSection) -> HeldOutSpeakers:
        """Return these speakers for comparison with the nodes' speakers.

        Their pseudonyms are included if `section` names a namespace and allows no shared speakers.
        """
        corpus, tokens = self.store.corpus, frozenset[bytes]()
        if section.speaker_namespace and not section.shared_speakers:
            key = pseudonyms.key_of(section.speaker_namespace, "")
            tokens = frozenset(split_tokens(tokens_of(key, self.speakers)))
        return HeldOutSpeakers(dataset=corpus.digest, split=self.split, tokens=tokens)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The held-out speakers."""
        return tuple(self.store.corpus.speakers(self.split))

    @property
    def speakers_in_training(self) -> frozenset[str]:
        """Held-out speakers who are also in another split: their WER is too good for new speakers."""
        return frozenset(self.speakers) & shared_speakers(self.store.corpus).keys()

    def evaluate(self, model: Recogniser, kept: Path | None = None) -> Evaluation:
        """Return loss, WER, CER and transcripts of the held-out speech.

        Args:
            model: The model.
            kept: A file that keeps each batch's result: an evaluation that was interrupted goes on from it.
        """
        key = key_of(model, self.store.corpus.digest, self.split, self.place.device) if kept else ""
        return self._evaluated(
            model, self.store.split_examples(self.split), KeptBatches(kept, key) if kept else None
        )

    def look(self, model: Recogniser) -> Evaluation:
        """Return the evaluation of `share` of the utterances, spread evenly over the split; never of none."""
        return self._evaluated(model, self._looked_at)

    @property
    def _looked_at(self) -> list[Example]:
        examples = self.store.split_examples(self.split)
        count = max(1, round(self.share * len(examples))) if examples else 0
        return [examples[index * len(examples) // count] for index in range(count)]

    def _evaluated(
        self, model: Recogniser, examples: list[Example], kept: KeptBatches | None = None
    ) -> Evaluation:
        with self.place.model(model) as placed:
            return evaluate(placed, examples, normaliser=self.normaliser, written=self._written, kept=kept)

    @property
    def _written(self) -> dict[str, str] | None:
        """The transcripts as they were written, where the normaliser compares with these."""
        return written_of(self.store.corpus, self.split) if needs_written(self.normaliser) else None

    def summary(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return errors by kind, with intervals and quantiles over speakers, as values for JSON."""
        examples = self.store.split_examples(self.split)
        return {
            "split": self.split,
            "corpus": self.store.corpus.digest,
            "hours": self.store.audio_seconds(self.split, examples) / 3600,
            "speakers_in_training": len(self.speakers_in_training),
            **assess(evaluation, self.store.corpus, self.split).summary(),
        }


@dataclass(frozen=True, kw_only=True)
class TranscribedSentence:
    """One held-out sentence: its reference text and the transcripts of two models."""

    reference: str
    by_seed: str
    by_final: str


@dataclass(kw_only=True)
class ModelEvaluations:
    """Evaluations of the seed model and of the newest model on the held-out speech.

    Both are of all utterances; the looks of a run that reads a share of them between rounds are apart.
    """

    held_out: HeldOut
    seed: Evaluation
    newest: Evaluation

    @classmethod
    def of_seed(cls, held_out: HeldOut, seed: Recogniser, kept: Path | None = None) -> ModelEvaluations:
        """Evaluate the seed model, which is the newest model too; `kept` as in `HeldOut.evaluate`."""
        evaluation = held_out.evaluate(seed, kept)
        return cls(held_out=held_out, seed=evaluation, newest=evaluation)

    def look(self, model: Recogniser) -> Evaluation:
        """Evaluate the newest model for the row of its round: on the share of the utterances for looks."""
        found = self.held_out.look(model)
        if self.held_out.share == 1:
            self.newest = found
        return found

    def evaluate(self, model: Recogniser, kept: Path | None = None) -> None:
        """Evaluate the newest model on all utterances; `kept` as in `HeldOut.evaluate`."""
        self.newest = self.held_out.evaluate(model, kept)

    def sentences(self, count: int) -> list[TranscribedSentence]:
        """Return `count` sentences, spread evenly over the held-out speech."""
        total = len(self.newest.references)
        chosen = [index * total // count for index in range(min(count, total))]
        return [
            TranscribedSentence(
                reference=self.newest.references[index],
                by_seed=self.seed.hypotheses[index],
                by_final=self.newest.hypotheses[index],
            )
            for index in chosen
        ]
