"""A small federation for tests of the strategy: fake nodes around the real clip, sum and strategy."""

from pathlib import Path

import torch
from flwr.app import Error, Message, RecordDict

from privacy import (
    ClipBounds,
    LayerLayout,
    Ledger,
    PrivacyPlan,
    Quantiser,
    accumulator_dtype,
    add_clipped_,
    add_indicators_,
    unclipped_slices,
    unpack,
)
from privacy.released_metrics import STATISTICS, add_statistics_
from strategies import DPFedOpt, GlobalModel, Mechanism, PopulationIndex, ServerStep, TrainingRun
from wire.messages import Answer, Task
from wire.node_answers import NodeSum
from wire.raw_metrics import RawMetrics

LAYOUT = LayerLayout.of([("weight", (6, 4)), ("bias", (6,)), ("scale", ())])
BOUNDS = ClipBounds.of("uniform", 1.0, LAYOUT, statistics=len(STATISTICS))
QUANTISER = Quantiser.of(BOUNDS, bits=20)


class PlainStep:
    """The simplest optimiser: subtract the mean, so a test sees the release itself."""

    def step_(self, vector, pseudo_gradient, learning_rate):
        vector.sub_(pseudo_gradient, alpha=learning_rate)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def honest(update_of, loss=1.0):
    """A node that holds any number of speakers; `update_of(number)` is a speaker's raw update (d,)."""

    def node(message: Message) -> RecordDict:
        task, _ = Task.from_message(message)
        return answer_to(task, update_of, loss).to_record()

    return node


def answer_to(task: Task, update_of, loss=1.0, layout: LayerLayout | None = None) -> Answer:
    """An answer with the two statistics of every run, or with those that the task asks of a given layout."""
    raw = RawMetrics(trained=len(task.speakers)) if task.raw_metrics else None
    if layout is not None:
        node_sum = NodeSum(task, layout)
        for number in task.speakers:
            node_sum.add(update_of(number), loss)
        return Answer.of(task, node_sum.integers, raw)
    total = torch.zeros(task.bounds.size, dtype=accumulator_dtype(max(1, len(task.speakers)), task.quantiser))
    for number in task.speakers:
        padded = torch.cat([update_of(number), torch.zeros(task.bounds.size - task.bounds.model_size)])
        clipped = add_clipped_(total, padded, task.bounds, task.quantiser)
        add_statistics_(total, (clipped, loss), task.bounds, task.quantiser)
        if task.bounds.indicators:
            add_indicators_(total, unclipped_slices(padded, task.bounds), task.bounds, task.quantiser)
    return Answer.of(task, total, raw)


def integers_of(answer: Answer, bounds=None, quantiser=None) -> torch.Tensor:
    """The sum that an answer carries."""
    return unpack(answer.packed, answer.count, bounds or BOUNDS, quantiser or QUANTISER)


def failing(text="<'boom with private data: my name is'>"):
    def node(message: Message) -> Error:
        return Error(code=2, reason=text)

    return node


def silent(message: Message) -> None:
    return None


def make_strategy(
    folder: Path,
    counts: dict[int, int],
    *,
    cohort=None,
    z=1.0,
    rounds=3,
    budget=None,
    optimiser=None,
    bounds=BOUNDS,
    quantiser=None,
    plan_settings=None,
    noise_shape="isotropic",
    adaptive=None,
    learning_rate=1.0,
    **options,
) -> DPFedOpt:
    """A strategy with plain steps and its own ledger in `folder`."""
    parts = make_parts(
        folder,
        counts,
        cohort=cohort,
        z=z,
        rounds=rounds,
        budget=budget,
        bounds=bounds,
        quantiser=quantiser,
        plan_settings=plan_settings,
        noise_shape=noise_shape,
        adaptive=adaptive,
    )
    step = ServerStep(optimiser=optimiser or PlainStep(), learning_rate=learning_rate)
    return DPFedOpt(**parts, server_step=step, round_deadline_seconds=5.0, **options)


def make_parts(
    folder: Path,
    counts: dict[int, int],
    *,
    cohort=None,
    z=1.0,
    rounds=3,
    budget=None,
    bounds=BOUNDS,
    quantiser=None,
    plan_settings=None,
    **mechanism,
) -> dict:
    """Model, mechanism and run of a strategy, by the names of its arguments."""
    population_index = PopulationIndex.of(counts)
    plan = PrivacyPlan(
        population=population_index.population,
        cohort=float(cohort or population_index.population),
        rounds=rounds,
        noise_multiplier=z,
        delta=1e-6,
        epsilon_budget=budget,
        **(plan_settings or {}),
    )
    quantiser = quantiser or Quantiser.of(bounds, bits=20)
    return {
        "model": GlobalModel(vector=torch.zeros(LAYOUT.size), layout=LAYOUT),
        "mechanism": Mechanism(plan=plan, bounds=bounds, quantiser=quantiser, **mechanism),
        "run": TrainingRun(
            population_index=population_index,
            ledger=Ledger.open(folder / "ledger.jsonl"),
            dataset="people",
            run_id="test",
        ),
    }
