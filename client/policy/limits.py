"""A node's own limits: what its owner allows a run to ask for, whoever controls the server.

They are in the node's own configuration, beside the path of its speech:
`--node-config 'corpus-path="/data/manifest.jsonl" most-epsilon=4.0 models="tiny"'`. A node that names no
limit has those of `NodePolicy`; `limits="none"` removes all except those that are named.

Guarantee: a node with speech of its own trains no speaker for a run that is beyond a limit. Only the server
knows the noise and epsilon. There the limits bound what it declares (`wire.declared_plan`); they do not find
a server that lies. A node checks everything else itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from base.registries import MODEL_PRESETS
from client.node_speech import OWN_RULES, OWN_SPEECH, PART_OF_THE_RUNS, NodeSpeech
from client.own_settings import OwnSettingError
from recipes import ConfigError, RunConfig
from speech.pretrained.store import is_stored_name
from wire.declared_plan import DeclaredPlan
from wire.messages import Task

ANY = "any"
LIMITS, SAFE, NONE = "limits", "safe", "none"
OF_THE_PLAN = ("least_noise_multiplier", "most_epsilon", "most_delta", "most_rounds")
OTHER_SETTINGS = {
    *OWN_RULES,
    *("base-model", "corpus-split", "feature-cache", "node-state", "seed-path", "speaker-namespace"),
}


@dataclass(frozen=True, kw_only=True)
class NodePolicy:
    """A node's limits; the defaults are those of a node with real speakers of its own.

    Attributes:
        least_noise_multiplier: Minimum noise multiplier that the server declares.
        most_epsilon: Maximum epsilon that it declares.
        most_delta: Maximum delta that it declares.
        most_rounds: Maximum rounds of its plan.
        most_rounds_per_speaker: Maximum rounds in which one speaker is trained, over all runs
            (`client.policy.training_counts`).
        models: The models that may be trained, presets or owner/name, with commas between, or "any", which
            is also one that a run names by a path.
        most_clip_bound: Maximum norm C of one speaker's update.
        most_steps: Maximum steps, and maximum epochs, of a speaker's training.
        most_seconds: Maximum seconds of speech that a speaker's training uses.
        most_processor_seconds: Maximum processor seconds of a speaker's training.
        most_memory_megabytes: Maximum memory of a speaker's training.
        splits: The splits of the node's corpus that may be trained on, with commas between, or "any".
    """

    least_noise_multiplier: float = 0.3
    most_epsilon: float = 10.0
    most_delta: float = 1e-5
    most_rounds: int = 2000
    most_rounds_per_speaker: int = 1000
    models: str = "tiny,small,conformer,paper,paper-post-norm"
    most_clip_bound: float = 100.0
    most_steps: int = 1000
    most_seconds: float = 600.0
    most_processor_seconds: float = 600.0
    most_memory_megabytes: int = 16384
    splits: str = "train"

    @classmethod
    def of(cls, node_config: Mapping[str, Any], *, real_speakers: bool) -> NodePolicy:
        """Read the limits of a node's configuration.

        Args:
            node_config: The node's configuration.
            real_speakers: Whether the node has real speakers of its own; if not, only the named limits hold.

        Raises:
            ConfigError: If there is no setting of some name, or a value has the wrong type: a limit that is
                ignored would be no limit.
        """
        limits = node_config.get(LIMITS, SAFE)
        if limits not in (SAFE, NONE):
            raise OwnSettingError(LIMITS, limits, f"set it to {SAFE!r} (the default) or {NONE!r}")
        kinds = {field.name.replace("_", "-"): type(field.default) for field in fields(cls)}
        known = {LIMITS, *kinds, *OWN_SPEECH, *PART_OF_THE_RUNS, *OTHER_SETTINGS}
        if unknown := sorted(set(node_config) - known):
            raise ConfigError(
                f"--node-config {unknown[0]}: there is no such setting; known are {', '.join(sorted(known))}"
            )
        given = {
            name.replace("-", "_"): _of_kind(name, node_config[name], kind)
            for name, kind in kinds.items()
            if name in node_config
        }
        policy = replace(cls() if real_speakers and limits == SAFE else NO_LIMITS, **given)
        unknown = [one for one in _names(policy.models) if not (one in MODEL_PRESETS or is_stored_name(one))]
        if policy.models != ANY and unknown:
            known_models = f'there are {", ".join(MODEL_PRESETS)}, owner/name, or models="{ANY}"'
            raise OwnSettingError("models", policy.models, f"one of them is no model; {known_models}")
        return policy

    @classmethod
    def for_run(
        cls, config: RunConfig, node_speech: NodeSpeech, node_config: Mapping[str, Any]
    ) -> NodePolicy:
        """The node's limits. Raises `ConfigError` if the run's settings are beyond one of them."""
        policy = cls.of(node_config, real_speakers=node_speech.has_real_speakers)
        policy.require_recipe(config, node_speech.split)
        return policy

    def require_recipe(self, config: RunConfig, split: str) -> None:
        """Raise `ConfigError` if the run's settings, or the `split` to train, are beyond a limit."""
        local, name = config.local, config.model.name
        if not self.allows_model(name):
            raise _beyond("models", self.models, "model.name", name)
        if self.splits != ANY and split not in _names(self.splits):
            raise _beyond("splits", self.splits, "corpus.train-split", split)
        _at_most("most-rounds", self.most_rounds, "training.rounds", config.training.rounds)
        _at_most("most-steps", self.most_steps, "local.steps", local.steps)
        _at_most("most-steps", self.most_steps, "local.epochs", local.epochs)
        _at_most("most-seconds", self.most_seconds, "local.most-seconds", local.most_seconds)
        longest = config.corpus.max_seconds  # of one utterance; a training uses at least one
        _at_most("most-seconds", self.most_seconds, "corpus.max-seconds", longest)
        seconds, most_seconds = local.processor_seconds, self.most_processor_seconds
        _at_most("most-processor-seconds", most_seconds, "local.processor-seconds", seconds)
        megabytes, most_megabytes = local.memory_megabytes, self.most_memory_megabytes
        _at_most("most-memory-megabytes", most_megabytes, "local.memory-megabytes", megabytes)

    def allows_model(self, name: str) -> bool:
        """Whether a run of the model of this name is within the limit `models`."""
        return self.models == ANY or name in _names(self.models)

    @property
    def allows_pretrained(self) -> bool:
        """Whether any pre-trained model is within the limit `models`."""
        return self.models == ANY or any(map(is_stored_name, _names(self.models)))

    def require_plan(self, declared: DeclaredPlan | None, config: RunConfig) -> None:
        """Raise `ConfigError` if the declared plan is beyond a limit, or differs from the run's settings.

        A server that declares no plan passes only where no limit is on a plan.
        """
        if declared is None:
            if all(getattr(self, name) == getattr(NO_LIMITS, name) for name in OF_THE_PLAN):
                return
            raise ConfigError(
                "the server declares no plan, and this node limits it: install the same release on both"
            )
        _require_agreement(declared, config)
        least, noise = self.least_noise_multiplier, declared.noise_multiplier
        if not noise >= least:  # NaN is beyond every limit
            raise _beyond("least-noise-multiplier", least, "privacy.noise-multiplier", noise)
        _at_most("most-epsilon", self.most_epsilon, "the run's epsilon", declared.epsilon)
        _at_most("most-delta", self.most_delta, "privacy.delta", declared.delta)
        _at_most("most-rounds", self.most_rounds, "training.rounds", declared.rounds)

    def require_task(self, task: Task, config: RunConfig) -> None:
        """Raise `ConfigError` if a task's plan or bound is beyond a limit, or its round beyond the plan."""
        self.require_plan(task.plan, config)
        if task.plan is not None and not 1 <= task.round_number <= task.plan.rounds:
            raise ConfigError(
                f"round {task.round_number} is not one of the {task.plan.rounds} rounds of the declared plan"
            )
        _at_most("most-clip-bound", self.most_clip_bound, "the clip bound of an update", task.bounds.total)


NO_LIMITS = NodePolicy(
    least_noise_multiplier=0.0,
    most_epsilon=math.inf,
    most_delta=1.0,
    most_rounds=2**62,
    most_rounds_per_speaker=2**62,
    models=ANY,
    most_clip_bound=math.inf,
    most_steps=2**62,
    most_seconds=math.inf,
    most_processor_seconds=math.inf,
    most_memory_megabytes=2**62,
    splits=ANY,
)
"""For a node with synthetic speech or a part of the run's own corpus, which the server's operators have."""


def _require_agreement(declared: DeclaredPlan, config: RunConfig) -> None:
    """Raise `ConfigError` if the declared plan differs from the run's settings. This node trains by them."""
    privacy = config.privacy
    pairs = [
        ("training.rounds", declared.rounds, config.training.rounds),
        ("training.cohort", declared.cohort, config.training.cohort),
        ("privacy.delta", declared.delta, privacy.delta),
    ]
    if not privacy.target_epsilon > 0:
        secret = (
            privacy.noise_multiplier if privacy.stamp != "none" else 0.0
        )  # of a known seed it hides nothing
        pairs.append(("privacy.noise-multiplier", declared.noise_multiplier, secret))
    for name, stated, configured in pairs:
        if stated != configured:
            raise ConfigError(f"{name}: the server declares {stated:g}, and its run has {configured:g}")
    if math.isfinite(declared.epsilon) != (declared.noise_multiplier > 0):
        raise ConfigError(
            f"the server declares epsilon {declared.epsilon:g} for a noise multiplier of "
            f"{declared.noise_multiplier:g}, which is impossible"
        )


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",")]


def _of_kind(name: str, value: Any, kind: type) -> Any:
    """`value` as the limit's type of number, or as text. Raises `OwnSettingError` for another type."""
    if kind is str:
        if isinstance(value, str):
            return value
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        try:  # in Flower's --node-config infinity can only be text
            plain = not isinstance(value, str) or re.fullmatch(r"[0-9.e+-]+|inf", value, re.ASCII)
            number = kind(value) if plain else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if number >= 0 and (isinstance(value, str) or number == value):
            return number
    meant = {int: "a whole number from 0 on", float: 'a number from 0 on, or "inf"', str: "text"}[kind]
    raise OwnSettingError(name, value, f"this limit is {meant}")


def _at_most(name: str, limit: float, asked: str, value: float) -> None:
    if not value <= limit:
        raise _beyond(name, limit, asked, value)


def _beyond(name: str, limit: object, asked: str, value: object) -> ConfigError:
    shown, allowed = (f"{one:.4g}" if isinstance(one, float) else one for one in (value, limit))
    return ConfigError(
        f"{asked} = {shown}: beyond this node's limit, {name} = {allowed}. Change the run's setting, or have "
        f"the node's owner change the limit (--node-config '{name}=...')"
    )
