"""Evaluation on held-out speakers at the server: public data, so its numbers cost no privacy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from base.registries import MODEL_PRESETS
from recipes import corpus_path, feature_cache
from recipes.sections import CorpusSection
from server.overlaps import HeldOutSpeakers
from speech.corpora.loading import load_corpus
from speech.corpora.speakers import require_disjoint, shared_speakers
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.evaluation.evaluation import Evaluation, assess, evaluate
from speech.model.ctc_transformer import CTCTransformer
from wire.pseudonyms import key_of, split_tokens, tokens_of


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out speakers of a corpus, ready to be read by a model."""

    store: ExampleStore
    split: str

    @classmethod
    def of(cls, section: CorpusSection, preset: str) -> HeldOut:
        """Load the test split.

        Raises:
            CorpusError: If the corpus cannot be loaded, has no such split, or has people in two splits
                without `corpus.shared-speakers`.
        """
        corpus = load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)
        corpus.speakers(section.test_split)  # raises if there is no such split
        if not section.shared_speakers:
            require_disjoint(corpus)
        disk, features = None, MODEL_PRESETS[preset].features
        if section.feature_cache:
            disk = FeatureCache.if_possible(feature_cache(), corpus, features)
        return cls(store=ExampleStore(corpus, features, disk=disk), split=section.test_split)

    def held_out_speakers(self, section: CorpusSection) -> HeldOutSpeakers:
        """These speakers as the roll call compares them; with tokens where `section` names a namespace."""
        corpus, tokens = self.store.corpus, frozenset[bytes]()
        if section.speaker_namespace and not section.shared_speakers:
            key = key_of(section.speaker_namespace, "")
            tokens = frozenset(split_tokens(tokens_of(key, self.speakers)))
        return HeldOutSpeakers(dataset=corpus.digest, split=self.split, tokens=tokens)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The held-out speakers."""
        return self.store.corpus.speakers(self.split)

    @property
    def speakers_in_training(self) -> frozenset[str]:
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
            "heard_in_training": len(self.speakers_in_training),
            **assess(reading, self.store.corpus, self.split).summary(),
        }


@dataclass(frozen=True, kw_only=True)
class TranscribedSentence:
    """One sentence, as it was and as two models heard it."""

    reference: str
    by_seed: str
    by_final: str


def transcribed_sentences(seed: Evaluation, final: Evaluation, count: int) -> list[TranscribedSentence]:
    """`count` sentences spread evenly over the held-out set."""
    total = len(final.references)
    chosen = [index * total // count for index in range(min(count, total))]
    return [
        TranscribedSentence(
            reference=final.references[index],
            by_seed=seed.hypotheses[index],
            by_final=final.hypotheses[index],
        )
        for index in chosen
    ]
