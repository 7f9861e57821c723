"""A node's own limits: what its owner lets a run ask for, whoever controls the server.

They stand in the node's own configuration, beside where its speech is:
`--node-config 'corpus-path="/data/manifest.jsonl" most-epsilon=4.0 models="tiny"'`. A node that names none
has those of `NodePolicy`; `limits="none"` takes all off but for those that are named.

Guarantee: a node with speech of its own trains nobody for a run that is beyond a limit. Of what the server
alone can know, noise and epsilon, the limits bound what it declares (`wire.declared_plan`): a server that
lies about them is not found out here. Everything else a node sees for itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from base.registries import MODEL_PRESETS
from client.node_speech import OWN_RULES, OWN_SPEECH, PART_OF_THE_RUNS, NodeSpeech
from recipes import ConfigError, RunConfig
from wire.declared_plan import DeclaredPlan
from wire.messages import Task

ANY = "any"
LIMITS, SAFE, NONE = "limits", "safe", "none"
OF_THE_PLAN = ("least_noise_multiplier", "most_epsilon", "most_delta", "most_rounds")
OTHER_SETTINGS = {*OWN_RULES, "corpus-split", "feature-cache", "node-state", "seed-path", "speaker-namespace"}


@dataclass(frozen=True, kw_only=True)
class NodePolicy:
    """A node's limits; the defaults are those of a node with people's speech of its own.

    `least_noise_multiplier`, `most_epsilon` and `most_delta` bound what the server declares, `most_rounds`
    its plan. `most_rounds_per_speaker` is how often one speaker may be trained, in all runs together
    (`client.policy.training_counts`). `models` are the presets that may be trained, or "any".
    `most_clip_bound` bounds the norm C of one speaker's update, `most_steps` the steps and epochs on a
    speaker's speech, of which `most_seconds` seconds may be used, within `most_processor_seconds` of a
    processor and `most_memory_megabytes`. `splits` are those of the node's corpus that may be trained on, or
    "any".
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
    def of(cls, node_config: Mapping[str, Any], *, people: bool) -> NodePolicy:
        """From what the node says of itself; where it holds no people, what it does not say is no limit.

        Raises:
            ConfigError: If a setting has no such name, or its value is of another kind: a limit that is
                passed over would be none.
        """
        limits = node_config.get(LIMITS, SAFE)
        if limits not in (SAFE, NONE):
            raise ConfigError(f"--node-config {LIMITS}={limits!r}: {SAFE!r} (the default) or {NONE!r}")
        kinds = {field.name.replace("_", "-"): type(field.default) for field in fields(cls)}
        known = {LIMITS, *kinds, *OWN_SPEECH, *PART_OF_THE_RUNS, *OTHER_SETTINGS}
        if unknown := sorted(set(node_config) - known):
            raise ConfigError(
                f"--node-config {unknown[0]}: there is no such setting; there are {', '.join(sorted(known))}"
            )
        given = {
            name.replace("-", "_"): _of_kind(name, node_config[name], kind)
            for name, kind in kinds.items()
            if name in node_config
        }
        policy = replace(cls() if people and limits == SAFE else NO_LIMITS, **given)
        if policy.models != ANY and (strange := set(_names(policy.models)) - set(MODEL_PRESETS)):
            raise ConfigError(
                f"--node-config models: {', '.join(sorted(strange))} is no model; there are "
                f'{", ".join(MODEL_PRESETS)}, or models="{ANY}"'
            )
        return policy

    @classmethod
    def for_run(
        cls, config: RunConfig, node_speech: NodeSpeech, node_config: Mapping[str, Any]
    ) -> NodePolicy:
        """The node's limits, within which the run's settings are. Raises `ConfigError` if they are not."""
        policy = cls.of(node_config, people=node_speech.of_people)
        policy.require_recipe(config, node_speech.split)
        return policy

    def require_recipe(self, config: RunConfig, split: str) -> None:
        """Raise `ConfigError` if a run's settings, or the split of this node that it would train, are beyond
        a limit."""
        local, preset = config.local, config.model.preset
        if self.models != ANY and preset not in _names(self.models):
            raise _beyond("models", self.models, "model.preset", preset)
        if self.splits != ANY and split not in _names(self.splits):
            raise _beyond("splits", self.splits, "corpus.train-split", split)
        _at_most("most-rounds", self.most_rounds, "training.rounds", config.training.rounds)
        _at_most("most-steps", self.most_steps, "local.steps", local.steps)
        _at_most("most-steps", self.most_steps, "local.epochs", local.epochs)
        _at_most("most-seconds", self.most_seconds, "local.most-seconds", local.most_seconds)
        longest = config.corpus.max_seconds  # of an utterance, one of which is always used
        _at_most("most-seconds", self.most_seconds, "corpus.max-seconds", longest)
        seconds, most_seconds = local.processor_seconds, self.most_processor_seconds
        _at_most("most-processor-seconds", most_seconds, "local.processor-seconds", seconds)
        megabytes, most_megabytes = local.memory_megabytes, self.most_memory_megabytes
        _at_most("most-memory-megabytes", most_megabytes, "local.memory-megabytes", megabytes)

    def require_plan(self, declared: DeclaredPlan | None, config: RunConfig) -> None:
        """Raise `ConfigError` if what the server declares of the run's privacy, if anything, is beyond a
        limit, or is not what the run's settings say."""
        if declared is None:
            if all(getattr(self, name) == getattr(NO_LIMITS, name) for name in OF_THE_PLAN):
                return
            raise ConfigError(
                "the server declares no plan, and this node has limits for it: have the same release on both"
            )
        _require_agreement(declared, config)
        least, noise = self.least_noise_multiplier, declared.noise_multiplier
        if not noise >= least:  # a number that is none is beyond every limit
            raise _beyond("least-noise-multiplier", least, "privacy.noise-multiplier", noise)
        _at_most("most-epsilon", self.most_epsilon, "the run's epsilon", declared.epsilon)
        _at_most("most-delta", self.most_delta, "privacy.delta", declared.delta)
        _at_most("most-rounds", self.most_rounds, "training.rounds", declared.rounds)

    def require_task(self, task: Task, config: RunConfig) -> None:
        """Raise `ConfigError` if the plan that comes with a task is beyond a limit, its round is beyond the
        plan, or one speaker's update may be longer than the limit."""
        self.require_plan(task.plan, config)
        if task.plan is not None and not 1 <= task.round_number <= task.plan.rounds:
            raise ConfigError(
                f"round {task.round_number} is none of the {task.plan.rounds} that were declared"
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
"""Of a node that holds nobody's speech, or a part of the run's own corpus, which the server's people have."""


def _require_agreement(declared: DeclaredPlan, config: RunConfig) -> None:
    """Raise `ConfigError` where a plan is none of the run's: the settings say how this node trains."""
    privacy = config.privacy
    pairs = [
        ("training.rounds", declared.rounds, config.training.rounds),
        ("training.cohort", declared.cohort, config.training.cohort),
        ("privacy.delta", declared.delta, privacy.delta),
    ]
    if not privacy.target_epsilon > 0:
        pairs.append(("privacy.noise-multiplier", declared.noise_multiplier, privacy.noise_multiplier))
    for name, said, meant in pairs:
        if said != meant:
            raise ConfigError(f"{name}: the server declares {said:g}, and its run has {meant:g}")
    if math.isfinite(declared.epsilon) != (declared.noise_multiplier > 0):
        raise ConfigError(
            f"the server declares epsilon {declared.epsilon:g} for a noise multiplier of "
            f"{declared.noise_multiplier:g}, which cannot be"
        )


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",")]


def _of_kind(name: str, value: Any, kind: type) -> Any:
    """`value` as the limit's kind of number, or text. Raises `ConfigError` if it is none."""
    if kind is str:
        if isinstance(value, str):
            return value
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        try:  # Flower's --node-config has infinity as text only
            plain = not isinstance(value, str) or re.fullmatch(r"[0-9.e+-]+|inf", value, re.ASCII)
            number = kind(value) if plain else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if number >= 0 and (isinstance(value, str) or number == value):
            return number
    meant = {int: "a whole number from 0 on", float: 'a number from 0 on, or "inf"', str: "text"}[kind]
    raise ConfigError(f"--node-config {name}={value!r}: this limit is {meant}")


def _at_most(name: str, limit: float, asked: str, value: float) -> None:
    if not value <= limit:
        raise _beyond(name, limit, asked, value)


def _beyond(name: str, limit: object, asked: str, value: object) -> ConfigError:
    shown, allowed = (f"{one:.4g}" if isinstance(one, float) else one for one in (value, limit))
    return ConfigError(
        f"{asked} = {shown}: beyond this node's limit, {name} = {allowed}. Change the run's setting, or have "
        f"the node's owner change the limit (--node-config '{name}=...')"
    )
