"""Evaluation on held-out speakers at the server: public data, so its numbers cost no privacy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recipes import corpus_path, feature_cache
from recipes.sections import CorpusSection
from server.overlaps import Listeners
from speech.corpus import load_corpus
from speech.evaluation import Evaluation, assess, evaluate
from speech.examples import ExampleStore
from speech.feature_cache import FeatureCache
from speech.features import PRESETS as FEATURES
from speech.model import CTCTransformer
from speech.speakers import require_disjoint, shared_speakers
from strategies.pseudonyms import key_of, split_tokens, tokens_of


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out speakers of a corpus, ready to be read by a model."""

    store: ExampleStore
    split: str

    @classmethod
    def of(cls, section: CorpusSection, preset: str) -> HeldOut:
        """Load the test split.

        Raises
        ------
        CorpusError
            If the corpus cannot be loaded, has no such split, or has people in two splits without
            `corpus.shared-speakers`.
        """
        corpus = load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)
        corpus.speakers(section.test_split)  # raises if there is no such split
        if not section.shared_speakers:
            require_disjoint(corpus)
        disk = None
        if section.feature_cache:
            disk = FeatureCache.if_possible(feature_cache(), corpus, FEATURES[preset])
        return cls(store=ExampleStore(corpus, FEATURES[preset], disk=disk), split=section.test_split)

    def listeners(self, section: CorpusSection) -> Listeners:
        """These speakers as the roll call compares them; with tokens where `section` names a namespace."""
        corpus, tokens = self.store.corpus, frozenset[bytes]()
        if section.speaker_namespace and not section.shared_speakers:
            key = key_of(section.speaker_namespace, "")
            tokens = frozenset(split_tokens(tokens_of(key, self.speakers)))
        return Listeners(dataset=corpus.digest, split=self.split, tokens=tokens)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The held-out speakers."""
        return self.store.corpus.speakers(self.split)

    @property
    def heard_in_training(self) -> frozenset[str]:
        """Held-out speakers who are also in another split: their WER flatters the model."""
        return frozenset(self.speakers) & shared_speakers(self.store.corpus).keys()

    def read_by(self, model: CTCTransformer) -> Evaluation:
        """Loss, WER, CER and what the model heard."""
        return evaluate(model, self.store.split_examples(self.split))

    def summary(self, reading: Evaluation) -> dict[str, Any]:
        """A reading's errors by kind, intervals and quantiles over speakers, fit for JSON."""
        examples = self.store.split_examples(self.split)
        frames = sum(len(example.features) for example in examples)
        return {
            "split": self.split,
            "corpus": self.store.corpus.digest,
            "hours": frames * self.store.hop_seconds / 3600,
            "heard_in_training": len(self.heard_in_training),
            **assess(reading, self.store.corpus, self.split).summary(),
        }


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One sentence, as it was and as two models heard it."""

    reference: str
    by_seed: str
    by_final: str


def readings(seed: Evaluation, final: Evaluation, count: int) -> list[Reading]:
    """`count` sentences spread evenly over the held-out set."""
    total = len(final.references)
    chosen = [index * total // count for index in range(min(count, total))]
    return [
        Reading(
            reference=final.references[index],
            by_seed=seed.hypotheses[index],
            by_final=final.hypotheses[index],
        )
        for index in chosen
    ]
