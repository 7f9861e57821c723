"""What a node checks before it trains for a task: the model, the owner's limits, the speakers' counts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from client.base_model import COPY_AND_NAME
from client.policy.limits import NodePolicy
from client.policy.training_counts import TrainingCounts
from privacy import LayerLayout
from privacy.group_statistics import RunStatistics
from recipes import ConfigError, RunConfig
from recipes.model_section import BASE, ModelSection
from wire.messages import Task

log = logging.getLogger("murmuration.client")


@dataclass(frozen=True, kw_only=True)
class TaskRules:
    """The rules of a node in a run.

    Attributes:
        config: The run's settings, as the node has them.
        policy: The owner's limits.
        simulated: Whether the node is a part of a simulation.
        layout: Names and shapes of what the node trains.
        frozen: Digest of the parameters that the node does not train.
        counts: How often each speaker was trained; None if the node has no real speakers of its own.
    """

    config: RunConfig
    policy: NodePolicy
    simulated: bool
    layout: LayerLayout
    frozen: str
    counts: TrainingCounts | None = None

    def require_frozen(self, digest: str) -> None:
        """Raise `ConfigError` unless the server has the frozen parameters of this node, by their `digest`."""
        if digest != self.frozen:
            raise ConfigError(
                "model.trainable: the parameters that are not trained are not those of the server: "
                + _remedy(self.config.model)
            )

    def require(self, task: Task) -> None:
        """Check a task before anything is trained for it.

        Raises:
            ConfigError: If a deployment's node is asked for un-noised metrics, the parameters that are not
                trained differ from the server's, or the plan or the bounds are beyond the owner's limits.
            ValueError: If the task is for another model, or for statistics that no run of this model has.
        """
        if task.raw_metrics and not self.simulated:
            raise ConfigError(
                "run.raw-metrics = true: un-noised metrics are for simulations, and this node has speech of "
                "its own; set run.raw-metrics to false"
            )
        if task.layout != self.layout.digest:
            raise ValueError(
                "the server trains another model, or orders its tensors in another way: use the same "
                "model.name, privacy.clip-groups and release"
            )
        self.require_frozen(task.frozen)
        self.policy.require_task(task, self.config)
        RunStatistics.in_bounds(self.layout, task.bounds)

    def over_limit(self, task: Task, speakers: Sequence[str]) -> set[str]:
        """The drawn speakers who were trained too often before; count all others, before they are trained.

        Raises:
            ConfigError: If the counts cannot be read or written, or the server declares another plan than
                before for this run.
        """
        if self.counts is None:
            return set()
        drawn, most = [speakers[number] for number in task.speakers], self.policy.most_rounds_per_speaker
        over = self.counts.add(drawn, run=task.run, round_number=task.round_number, most=most, plan=task.plan)
        if over:
            log.warning(
                "%d drawn speakers were trained in %d rounds before: they count as zero", len(over), most
            )
        return over


def _remedy(model: ModelSection) -> str:
    """What makes a node's frozen parameters those of the server."""
    own_seed = (
        "copy the seed model of the server's run to this node and name it, --node-config 'seed-path=\"...\"'"
    )
    if model.is_preset:
        return own_seed
    own_folder = f"{COPY_AND_NAME} (model.name = {model.name!r})"
    return own_folder if model.seed == BASE else f"{own_folder}, and {own_seed}"


def require_known(task: Task, speakers: Sequence[str]) -> None:
    """Raise `ValueError` if a task draws a speaker that the node does not have, or one of them twice."""
    if task.speakers and not 0 <= min(task.speakers) <= max(task.speakers) < len(speakers):
        raise ValueError(f"a drawn speaker's number is beyond the {len(speakers)} of this node")
    if len(set(task.speakers)) < len(task.speakers):
        raise ValueError("a speaker is drawn twice: the sum would contain that update twice")
