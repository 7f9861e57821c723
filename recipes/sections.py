"""The sections of the run configuration but `model` and `privacy`: every key, its type, range and meaning."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from base.learning_settings import LearningSettings
from base.registries import (
    CORPUS_KINDS,
    LANGUAGES,
    LOCAL_ALGORITHMS,
    SCHEDULES,
    SERVER_OPTIMISERS,
)
from base.settings import Count, Decay, Fraction, NotNegative, Positive, Section, WholeNumber, name_of

CorpusKind = Annotated[str, name_of(CORPUS_KINDS)]
UNSPELLED = Literal["skip", "map"]
NORMALISERS = Literal["characters", "none", "whisper-english"]
OptimiserName = Annotated[str, name_of(SERVER_OPTIMISERS)]
ScheduleName = Annotated[str, name_of(SCHEDULES)]
LOCAL_OPTIMISERS = Literal["sgd", "adam"]
AVERAGINGS = Literal["none", "ema", "tail"]
EMBEDDED = "embedded"
LocalAlgorithmName = Annotated[str, name_of(LOCAL_ALGORITHMS)]


class CorpusSection(Section):
    """Whose speech."""

    kind: CorpusKind = Field(description="what lies at the path; 'embedded' ships with us")
    path: str = Field(
        description="manifest file, corpus folder or number of synthetic speakers; empty for 'embedded'"
    )
    train_split: str = Field(min_length=1, description="split whose speakers may be drawn")
    test_split: str = Field(min_length=1, description="split of the held-out evaluation")
    max_seconds: Positive = Field(description="longer utterances are skipped and counted")
    language: str = Field(
        description="code of the language that is spoken; for `murmur`, also a file with its characters"
    )
    characters: str = Field(
        description="characters of a language that is not registered, in the order of the model's outputs"
    )
    unspelled: UNSPELLED = Field(
        description="transcripts with digits or foreign letters: 'skip' them, or 'map' to what can be spelled"
    )
    normaliser: NORMALISERS = Field(
        description="what error rates compare: words in these 'characters', as they are written ('none'), or "
        "as 'whisper-english' writes them"
    )
    feature_cache: bool = Field(
        description="keep features in the user's cache folder, in a simulation; other nodes say so themselves"
    )

    speaker_namespace: str = Field(
        description="name of the space in which an id means one speaker, here and on nodes that set it too; "
        "empty: within the corpus"
    )
    shared_speakers: bool = Field(
        description="go on although speakers are in two splits; error rates on them are too low"
    )

    @model_validator(mode="after")
    def _path_where_needed(self) -> CorpusSection:
        if self.kind != "embedded" and not self.path:
            raise ValueError(f"corpus.path is empty: kind {self.kind!r} needs the path of a corpus")
        if self.train_split == self.test_split:
            raise ValueError(
                f"corpus.train-split and corpus.test-split are both {self.train_split!r}: what is measured "
                "on the speakers who are trained says nothing of others, and no epsilon covers it; name two"
            )
        return self

    @model_validator(mode="after")
    def _characters_where_needed(self) -> CorpusSection:
        if not self.characters and self.language not in LANGUAGES:
            raise ValueError(
                f"corpus.language = {self.language!r}: not registered; registered are "
                f"{', '.join(map(repr, LANGUAGES))}. For any other give corpus.characters; `murmur` also "
                "takes the path of a file with them (docs/corpora.md)"
            )
        return self

    @property
    def rules(self) -> dict[str, Any]:
        """What `speech.corpora.loading.load_corpus` shall take, as its keyword arguments."""
        return self.model_dump(include={"max_seconds", "language", "characters", "unspelled"})


class TrainingSection(Section):
    """The rounds of the federation."""

    rounds: Count = Field(description="rounds T")
    cohort: Positive = Field(description="expected speakers per round S; each is drawn with S / N")
    evaluate_every: Count = Field(description="rounds between evaluations on held-out speakers")
    evaluate_share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of the held-out utterances that these read, always the same; the end reads all"
    )
    round_deadline_seconds: Positive = Field(description="replies later than this count as zero")
    min_nodes: Count = Field(description="nodes to wait for before the first round")
    wait_seconds: Positive = Field(description="how long to wait for them")
    hosted_nodes: WholeNumber = Field(
        description="in a simulation, the nodes that its SuperNodes hold together; 0: each is one node"
    )
    min_answers: WholeNumber = Field(
        description="of the nodes asked in a round so many must answer, or all if fewer; else the run stops"
    )


class LocalSection(Section, LearningSettings):
    """What a drawn speaker does with the round's model (stateless)."""

    algorithm: LocalAlgorithmName = Field(
        description="'fedavg'; 'fedprox' stays near the round's model; 'scaffold' only without privacy"
    )
    proximal_mu: NotNegative = Field(description="FedProx: weight mu of mu/2 |w - w0|^2")
    optimiser: LOCAL_OPTIMISERS = Field(description="local optimiser, afresh for every speaker")
    learning_rate: Positive = Field(description="local learning rate")
    momentum: Decay = Field(description="momentum (sgd); 0: none")
    beta1: Decay = Field(description="decay of the first moment (adam)")
    beta2: Decay = Field(description="decay of the second moment (adam)")
    epsilon: Positive = Field(description="added to the root of the second moment (adam)")
    batch_size: WholeNumber = Field(description="utterances per local batch")
    batch_seconds: NotNegative = Field(description="or seconds of audio per local batch, padding included")
    epochs: Annotated[int, Field(ge=0)] = Field(description="passes over the speaker's speech")
    steps: Annotated[int, Field(ge=0)] = Field(description="or so many batches, looping as needed")
    gradient_clip: Positive = Field(
        description="bound on the gradient norm of each step (clip = 'batch'), or of each of its parts"
    )
    most_utterances: Count = Field(
        description="most utterances of a speaker in a round; of more, a random part that is drawn each time"
    )
    most_seconds: Positive = Field(description="and most seconds of audio")
    processor_seconds: Positive = Field(
        description="processor time of a speaker's training in a round; who takes more counts as zero"
    )
    memory_megabytes: Annotated[int, Field(ge=16)] = Field(
        description="and memory, beyond the model's; who takes more counts as zero"
    )

    @property
    def most_of_a_speaker(self) -> dict[str, Any]:
        """`utterances` and `seconds` of a speaker's audio that a round can use at most."""
        utterances, seconds = self.most_utterances, self.most_seconds
        if self.steps and self.batch_size:
            utterances = min(utterances, self.steps * self.batch_size)
        if self.steps and self.batch_seconds:
            seconds = min(seconds, self.steps * self.batch_seconds)
        return {"utterances": utterances, "seconds": seconds}

    @model_validator(mode="after")
    def _epochs_or_steps(self) -> LocalSection:
        if (self.epochs == 0) == (self.steps == 0):
            raise ValueError(
                f"local.epochs = {self.epochs} and local.steps = {self.steps}: "
                "set exactly one of them above 0"
            )
        return self

    @model_validator(mode="after")
    def _utterances_or_seconds(self) -> LocalSection:
        if (self.batch_size == 0) == (self.batch_seconds == 0):
            raise ValueError(
                f"local.batch-size = {self.batch_size} and local.batch-seconds = {self.batch_seconds:g}: "
                "set exactly one of them above 0"
            )
        return self

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> LocalSection:
        self.require_parts(self.batch_size, "local.")
        return self

    @model_validator(mode="after")
    def _plain_sgd_for_scaffold(self) -> LocalSection:
        if self.algorithm == "scaffold" and (self.optimiser, self.momentum) != ("sgd", 0):
            raise ValueError(
                f"local.algorithm = 'scaffold', local.optimiser = {self.optimiser!r} and "
                f"local.momentum = {self.momentum}: its control variates are mean gradients of plain SGD; "
                "use 'sgd' and 0"
            )
        return self

    @model_validator(mode="after")
    def _mu_with_fedprox(self) -> LocalSection:
        if (self.algorithm == "fedprox") != (self.proximal_mu > 0):
            raise ValueError(
                f"local.algorithm = {self.algorithm!r} and local.proximal-mu = {self.proximal_mu}: "
                "mu belongs to 'fedprox' and is above 0 there, 0 elsewhere"
            )
        return self


class ServerSection(Section):
    """How the noisy mean becomes a model."""

    optimiser: OptimiserName = Field(description="server optimiser")
    optimiser_settings: str = Field(
        description="another package's optimiser: what this section has no key for, as 'rho=0.5, floor=1e-3'"
    )
    learning_rate: Positive = Field(description="server learning rate")
    schedule: ScheduleName = Field(description="how the server learning rate moves over the rounds")
    warm_up_rounds: WholeNumber = Field(description="rounds of a linear ramp before any schedule")
    decay_after: WholeNumber = Field(description="rounds before decay begins (exponential, step)")
    decay_every: Count = Field(description="rounds per factor of decay (exponential, step)")
    decay_factor: Annotated[float, Field(gt=0, le=1)] = Field(description="the factor (exponential, step)")
    final_factor: Fraction = Field(description="the factor at the end (cosine, half-cosine)")
    beta1: Decay = Field(description="decay of the first moment (adam, lamb, yogi)")
    beta2: Decay = Field(description="decay of the second moment (adam, lamb, yogi)")
    epsilon: Positive = Field(description="added to the root of the second moment (all but sgd, lars)")
    momentum: Decay = Field(description="momentum (sgd, lars); 0: none")
    initial_accumulator: NotNegative = Field(description="where the second moment starts (yogi, adagrad)")
    trust_ratio_cap: NotNegative = Field(description="bound on |weights| / |update| (lamb); 0: no bound")
    trust_coefficient: Positive = Field(description="a layer's step over its norm (lars)")
    weight_decay: NotNegative = Field(description="weight decay (lamb, lars)")
    averaging: AVERAGINGS = Field(
        description="the model that is evaluated and kept: 'none': the newest; 'ema', 'tail': an average"
    )
    averaging_decay: Decay = Field(description="largest decay of the moving average (ema)")
    averaging_share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of the rounds, the last ones, in the mean (tail)"
    )
    anchor_corpus: str = Field(
        description="public labelled speech on which the server trains after each round: a manifest, a "
        "corpus folder or 'embedded'; nobody in it may be enrolled; empty: none"
    )
    anchor_kind: CorpusKind = Field(description="what lies at the path of the anchor corpus")
    anchor_split: str = Field(min_length=1, description="split of the anchor corpus")
    anchor_steps: WholeNumber = Field(description="steps of plain SGD on the anchor corpus after each round")
    anchor_rate: Positive = Field(description="their learning rate")
    anchor_batch_seconds: NotNegative = Field(
        description="seconds of audio per step, padding included; 0: the batches of the section local"
    )
    anchor_seed: WholeNumber = Field(description="decides, with the round, the batches, masks and dropout")

    @model_validator(mode="after")
    def _decay_that_decays(self) -> ServerSection:
        if self.schedule in ("exponential", "step") and self.decay_factor == 1:
            raise ValueError(
                f"server.schedule = {self.schedule!r} and server.decay-factor = 1.0: nothing would decay; "
                "set a factor below 1, or the schedule 'constant'"
            )
        return self

    @model_validator(mode="after")
    def _steps_with_an_anchor(self) -> ServerSection:
        if bool(self.anchor_corpus) != bool(self.anchor_steps):
            raise ValueError(
                f"server.anchor-corpus = {self.anchor_corpus!r} and server.anchor-steps = "
                f"{self.anchor_steps}: steps need a corpus, and a corpus steps; set both, or '' and 0"
            )
        return self

    @property
    def anchor_place(self) -> tuple[str, str]:
        """Kind and path of the anchor corpus."""
        shipped = self.anchor_corpus == EMBEDDED
        return (EMBEDDED, "") if shipped else (self.anchor_kind, self.anchor_corpus)

    @model_validator(mode="after")
    def _settings_that_can_be_read(self) -> ServerSection:
        self.own_settings()
        return self

    def own_settings(self) -> dict[str, float]:
        """`optimiser_settings` by name: Flower's run configuration takes no table, so they are one string.

        Raises:
            ValueError: For a string that is no list of numbers by name, or a name that this section has.
        """
        place = f"server.optimiser-settings = {self.optimiser_settings!r}"
        try:
            own = tomllib.loads(f"own = {{{self.optimiser_settings}}}")["own"]
            numbers = {name: float(value) for name, value in own.items()}
        except (TypeError, ValueError):
            raise ValueError(f"{place}: write numbers by name, as 'rho=0.5, floor=1e-3'") from None
        if taken := sorted(set(numbers) & set(type(self).model_fields)):
            raise ValueError(
                f"{place}: {', '.join(taken)} has a key of its own in the section server: set it there"
            )
        return numbers


class RunSection(Section):
    """What is kept."""

    folder: str = Field(
        description="run folders are made here; empty: `runs` in $MURMUR_HOME or the checkout"
    )
    resume: str = Field(description="a run folder to go on with, or 'latest'; empty: a fresh run")
    checkpoint_every: WholeNumber = Field(
        description="rounds between checkpoints; 0: 1, or up to 20 where a run would write over 200 GB"
    )
    sentences_shown: Annotated[int, Field(ge=0)] = Field(
        description="held-out sentences read side by side at the end"
    )
    evaluation_device: str = Field(
        min_length=1, description="device of the server's evaluation: 'cpu', or 'cuda' for a copy on its GPU"
    )
    evaluation_threads: Count = Field(description="threads of the server's evaluation on the CPU")
    raw_metrics: bool = Field(
        description="simulations only: un-noised metrics of the nodes, in a file that is not private"
    )
    release_signature: str = Field(
        description="the release's signature, for nodes that approve its key; `murmur deploy run` sets it"
    )
