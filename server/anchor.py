"""The anchor: steps on public labelled speech that the server takes after each round.

It continues the noised model of the round by plain SGD on `server.anchor-corpus`, and that model is then
evaluated, averaged, written and sent on. Bae et al. 2026 (arXiv 2609.25471) call this an anchor.

Guarantee: the steps are a function of the noised model, the number of the round and the anchor corpus alone.
So they are post-processing, and no epsilon changes. That holds for everybody whose speech is not in the
anchor corpus, so a run with an enrolled speaker in it is refused, as far as this can be seen
(`server.overlaps`). Utterances, their order, masks and dropout of a round follow from `server.anchor-seed`
and the number of the round: nothing is kept from round to round, and a resumed run takes the steps that it
would have taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from base.counts import count_of
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.speaker_round import SpeakerRound, SpeechLimit
from recipes import WITHOUT_FILES, ConfigError, RunConfig, corpus_path, feature_cache, seed_model
from recipes.sections import CorpusSection, LocalSection, ServerSection
from server.evaluation import EvaluationPlace, HeldOut
from server.factory import SEEDS_WITHOUT_WEIGHTS
from server.overlaps import AnchorSpeakers
from server.recordings import Recordings
from speech.corpora.corpus import Corpus, Utterance
from speech.corpora.loading import load_corpus
from speech.data.examples import Example, ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.errors import CorpusError, SpeechError
from speech.text import alphabet_of
from wire.pseudonyms import key_of, split_tokens, tokens_of


def anchor_in_words(section: ServerSection, *, named: bool = True) -> str:
    """Return what the server trains on after each round, without the corpus' path; "" without an anchor.

    Args:
        section: The recipe's section.
        named: Whether the corpus is called by the last folder of its path too.
    """
    if not section.anchor_corpus:
        return ""
    kind, path = section.anchor_place
    place = Path(path)
    folder = "" if kind in WITHOUT_FILES or not named else (place.parent if place.suffix else place).name
    name = f"{folder} ({kind})" if folder else kind
    steps = count_of(section.anchor_steps, "step")
    return (
        f"{steps} of SGD (rate {section.anchor_rate:g}) after each round, on public speech without noise: "
        f"{name}, split {section.anchor_split!r}"
    )


@dataclass(frozen=True, kw_only=True)
class AnchorSpeech:
    """The anchor corpus.

    Attributes:
        corpus: The corpus.
        split: The split that is trained on.
        kind: The kind of the corpus.
        speakers: Its speakers, for comparison with those of nodes and ledgers.
    """

    corpus: Corpus
    split: str
    kind: str
    speakers: AnchorSpeakers

    @classmethod
    def of(cls, config: RunConfig, held_out: HeldOut) -> AnchorSpeech | None:
        """Load the anchor corpus by the rules of the recipe's corpus; None if the recipe names none.

        Raises:
            CorpusError: If it cannot be loaded, has no such split, or no usable utterance.
            ConfigError: If it has held-out speakers or their recordings.
        """
        section = config.server
        if not section.anchor_corpus:
            return None
        kind, path = section.anchor_place
        corpus = load_corpus(kind, corpus_path(kind, path), **config.corpus.rules)
        corpus.speakers(section.anchor_split)  # raises if there is no such split
        bare = AnchorSpeakers(dataset=corpus.digest, split=section.anchor_split)
        found = cls(corpus=corpus, split=section.anchor_split, kind=kind, speakers=bare)
        found._require_nobody_held_out(config.corpus, held_out)
        return replace(found, speakers=found._described(config.corpus, held_out))

    @cached_property
    def utterances(self) -> tuple[Utterance, ...]:
        """The utterances, speaker by speaker."""
        corpus, split = self.corpus, self.split
        return tuple(one for name in corpus.speakers(split) for one in corpus.utterances(split, name))

    @cached_property
    def _recordings(self) -> Recordings:
        return Recordings(self.utterances)

    def _described(self, section: CorpusSection, held_out: HeldOut) -> AnchorSpeakers:
        """The speakers, and the ids that they have in the server's own corpus, by their recordings.

        The namespace of the server's own corpus is that of the anchor corpus too.
        """
        corpus, own = self.corpus, held_out.store.corpus
        recorded = {one.speaker for split in own.splits for one in self._shared(own, split, section.kind)}
        of_own = {split: sum(own.has_speaker(split, one) for one in recorded) for split in own.splits}
        named = ((corpus, corpus.speakers(self.split)), (own, sorted(recorded)))
        return AnchorSpeakers(
            dataset=corpus.digest,
            split=self.split,
            apart=frozenset(split for split in corpus.splits if not self._in(corpus, split)),
            tokens=frozenset(
                token
                for whose, names in named
                for key in {key_of(space, whose.speaker_key) for space in ("", section.speaker_namespace)}
                for token in split_tokens(tokens_of(key, names))
            ),
            recorded={(own.digest, split): count for split, count in of_own.items() if count},
        )

    def _in(self, corpus: Corpus, split: str) -> list[str]:
        """The ids that a split of a corpus has too."""
        return [name for name in self.corpus.speakers(self.split) if corpus.has_speaker(split, name)]

    def _shared(self, corpus: Corpus, split: str, kind: str) -> Iterator[Utterance]:
        """The utterances of a split of a corpus whose recordings the anchor corpus has too."""
        if self.kind in WITHOUT_FILES or kind in WITHOUT_FILES:
            return
        for name in corpus.speakers(split):
            yield from filter(self._recordings.have, corpus.utterances(split, name))

    def _require_nobody_held_out(self, section: CorpusSection, held_out: HeldOut) -> None:
        """Refuse to train on what error rates are measured on."""
        theirs, split = held_out.store.corpus, held_out.split
        same = self.corpus.digest == theirs.digest or bool(section.speaker_namespace)
        speakers = [] if section.shared_speakers or not same else self._in(theirs, split)
        files = sum(1 for _ in self._shared(theirs, split, section.kind))
        if self.corpus.digest == theirs.digest and self.split == split:
            fault = "it is the held-out split"
        elif speakers:
            fault = f"{len(speakers)} of its speakers are held out, the first {speakers[0]!r}"
        elif files:
            fault = f"{files} of its recordings are in the held-out split"
        else:
            return
        raise ConfigError(
            f"server.anchor-split = {self.split!r} of {self.corpus.name}: {fault} (corpus.test-split = "
            f"{split!r}), and error rates on it would say nothing of new speech; take another split or corpus"
        )


class Anchor:
    """Takes the steps of a run on its anchor corpus.

    It has a model of its own, with its gradients: twice the memory of what is trained, and the frozen part.

    Args:
        speech: The anchor corpus.
        config: The run configuration: the model, and the sections `local` and `server`.
        seed: The file of the seed model; None if the run starts from none.
        place: Where it is computed.

    Raises:
        CorpusError: If no audio of the first round's steps can be used.
    """

    def __init__(
        self, speech: AnchorSpeech, config: RunConfig, seed: Path | None, place: EvaluationPlace
    ) -> None:
        self.speech, self._place, self._seed = speech, place, config.server.anchor_seed
        local = steps_of(config.local, config.server)
        alphabet = alphabet_of(config.corpus.language, config.corpus.characters)
        model = model_to_train(config.model, local, alphabet, seed=seed)
        disk = None
        if config.corpus.feature_cache:
            disk = FeatureCache.if_possible(feature_cache(), speech.corpus, model.front_end)
        self._store = ExampleStore(speech.corpus, model.front_end, tokeniser=model.tokeniser, disk=disk)
        groups = config.privacy.groups
        self._trainer = LocalTrainer(model, local, device=place.device, clip_groups=groups)
        self._longest_seconds = config.corpus.max_seconds
        utterances = local.steps * local.batch_size or len(speech.utterances)
        self._limit = SpeechLimit(
            utterances=utterances, seconds=local.steps * local.batch_seconds or math.inf
        )
        self._examples(self._round(1))

    def move_(self, vector: Tensor, round_number: int) -> None:
        """Take the steps after a round, in place.

        Args:
            vector: The model after the server's step (d,).
            round_number: The round.

        Raises:
            SpeechError: If the model diverges.
            CorpusError: If no audio of the round's steps can be used.
        """
        drawn = self._round(round_number)
        with self._place.computing():
            update, trained = self._trainer.update(vector, self._examples(drawn), drawn)
        change = update[: vector.numel()]
        if not (math.isfinite(trained.loss) and math.isfinite(float(change.norm()))):
            raise SpeechError(
                f"server.anchor-rate = {self._trainer.settings.learning_rate:g}: the steps on the anchor "
                f"corpus diverged after round {round_number} (loss {trained.loss:g}); start a run with a "
                "lower rate"
            )
        vector.sub_(change)

    def _round(self, number: int) -> SpeakerRound:
        return SpeakerRound(run=f"anchor {self._seed}", round_number=number, speaker="")

    def _examples(self, drawn: SpeakerRound) -> list[Example]:
        """The examples of a round: as many as its steps need, all of the corpus if that is less."""
        speech = self.speech
        chosen = self._limit.choose(speech.utterances, self._longest_seconds, drawn)
        whole = len(chosen) == len(speech.utterances)
        examples = self._store.split_examples(speech.split) if whole else self._store.examples_of(chosen)
        if not examples:
            raise CorpusError(
                f"server.anchor-corpus: {speech.corpus.name} has no usable audio in split {speech.split!r} "
                f"for round {drawn.round_number}; the first fault: {self._store.skipped[0].reason}"
            )
        return examples


def steps_of(local: LocalSection, section: ServerSection) -> LocalSection:
    """Return the settings of the steps: those of local training, with plain SGD from the model as it is."""
    batches = {"batch_size": 0, "batch_seconds": section.anchor_batch_seconds}
    return local.model_copy(
        update={
            "algorithm": "fedavg",
            "proximal_mu": 0.0,
            "optimiser": "sgd",
            "momentum": 0.0,
            "learning_rate": section.anchor_rate,
            "epochs": 0,
            "steps": section.anchor_steps,
            **(batches if section.anchor_batch_seconds else {}),
        }
    )


def seed_file(seed: str) -> Path | None:
    """Return the file of a recipe's `model.seed`; None if the model starts from no file."""
    return None if seed in SEEDS_WITHOUT_WEIGHTS else seed_model(seed)
