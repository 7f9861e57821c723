"""What a round costs at scale: `python -m benchmarks.scale`.

The parts of a round (`cli.run.round_costs`, with which `murmur run --dry-run` says what a run will take) are
measured here, and from them follow rounds of the paper's cohorts on clusters of this machine's kind. Rounds
of two sizes that can be run here are predicted and run: the prediction should be within a quarter.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch

from benchmarks.report import Ratio, conditions, one_thread, table, write
from benchmarks.simulation import QUIET_LOAD, ROOT
from cli.composing import default_config, read_recipe, read_settings
from cli.processes import QUIET
from cli.run.forecast import Forecast, forecast, size
from cli.run.round_costs import DOWN, RELEASE, SUM, TRAINING, UP, RoundCosts, ValueCosts
from cli.run.settings import check, compose
from client.learner import Learner
from client.node_speech import NodeSpeech
from privacy import ClipBounds, Quantiser
from privacy.sums.packing import packed_bytes
from recipes import RunConfig
from server.factory import make_bounds
from tests.processes import kill_all_of, run_command

COHORTS, MACHINES = (1_000, 10_000, 200_000), (1, 8, 64)  # the paper's extrapolated rows have up to 204,800
FEW = 64  # nodes with many speakers each
CORES = 2  # of a machine
NETWORK_BYTES = 1.25e9  # a second, each way: 10 Gbit/s
CHECKED, NODES, ROUNDS = (64, 512), 8, 4
PAPER = ROOT / "recipes" / "paper" / "base.toml"
STEPS, STEP_SECONDS = 10, 120.0  # the paper's local steps in its private rows, and their speech
LIMIT_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is known of a model: the costs of its parts and the length of its messages."""

    name: str
    update: float
    value: ValueCosts
    bounds: ClipBounds
    quantiser: Quantiser

    @property
    def values(self) -> int:
        """Length of the model's vector."""
        return self.bounds.model_size

    def round(self, speakers: int, nodes: int, machines: int) -> RoundCosts:
        """A round in which all of these nodes have as many drawn speakers."""
        return RoundCosts(
            speakers=speakers,
            nodes=nodes,
            processors=CORES * machines,
            update=self.update,
            values=self.values,
            value=self.value,
            model_bytes=4 * self.values,
            sum_bytes=packed_bytes(max(1, speakers // nodes), self.bounds, self.quantiser),
            machines=machines,
            network_bytes=NETWORK_BYTES,
        )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A round that was predicted, and run."""

    speakers: int
    nodes: int
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


def settings(speakers: int) -> list[str]:
    """The first run's, with so many speakers, all of whom are in every round."""
    return [
        f'corpus.path="{speakers}x2" training.cohort={float(speakers)} training.rounds={ROUNDS} '
        f"training.evaluate-every={ROUNDS} privacy.population=0 privacy.bands=1 run.sentences-shown=0"
    ]


def foretold(speakers: int, nodes: int) -> Forecast:
    """What `murmur run --dry-run` would measure."""
    return forecast(check(compose(None, None, read_settings(settings(speakers))), nodes), nodes, CORES)


def learner_of(config: RunConfig) -> Learner:
    """That of a node which holds all speakers."""
    return Learner.of(config, NodeSpeech.of(config.corpus, {"partition-id": 0, "num-partitions": 1}))


def tiny() -> Model:
    """The model of the first run, and its speakers, whose speech is made anew in each round."""
    made = foretold(max(CHECKED), NODES)
    bounds, quantiser = make_bounds(made.config.privacy, learner_of(made.config).layout())
    return Model(
        name=f"`{made.config.model.name}`",
        update=made.measured.update,
        value=made.measured.value,
        bounds=bounds,
        quantiser=quantiser,
    )


def paper() -> Model:
    """The paper's model; a speaker takes `STEPS` local steps on `STEP_SECONDS` of speech each."""
    here = {
        "corpus.kind": "embedded",
        "corpus.path": "",
        "corpus.feature-cache": False,
        "model.seed": "random",
        "local.precision": "float32",
    }
    config = RunConfig.from_flat({**default_config(), **read_recipe(PAPER), **here})
    learner = learner_of(config)
    bounds, quantiser = make_bounds(config.privacy, learner.layout())
    value = ValueCosts.measured(config, bounds.model_size)
    training = learner.training(torch.zeros(bounds.size))
    of_a_second = training.warm_up() / (training.limit.seconds * config.local.epochs)
    return Model(
        name="the paper's",
        update=STEPS * STEP_SECONDS * of_a_second,
        value=value,
        bounds=bounds,
        quantiser=quantiser,
    )


def measured(speakers: int, nodes: int) -> float:
    """Mean seconds of a round, without the first one, in which workers load and compile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        try:
            words = ("run", "--nodes", str(nodes), "--set", *settings(speakers))
            variables = {**QUIET, "PYTHONPATH": str(ROOT)}
            done = run_command(
                "murmur", *words, home=home, cwd=home, seconds=LIMIT_SECONDS, variables=variables
            )
        finally:
            kill_all_of(home)
        if done.returncode:
            raise SystemExit(f"the run did not end well:\n{done.stdout[-3000:]}")
        lines = (home / "runs" / "latest" / "traffic.jsonl").read_text(encoding="utf-8").splitlines()
    return mean([line["seconds"] for line in map(json.loads, lines) if "drawn" in line][1:])


def checks(sizes: Sequence[int]) -> Iterator[Checked]:
    """Both kinds of nodes, in each of these sizes."""
    for speakers in sizes:
        for nodes in (NODES, speakers):
            made = foretold(speakers, nodes).round.seconds
            yield Checked(speakers=speakers, nodes=nodes, predicted=made, measured=measured(speakers, nodes))


def rows(model: Model) -> Iterator[tuple[str, ...]]:
    """The predicted rounds of a model."""
    for speakers in COHORTS:
        for nodes in (speakers, FEW):
            for machines in MACHINES:
                costs = model.round(speakers, nodes, machines)
                parts = (costs.parts[part] for part in (TRAINING, SUM, DOWN, UP, RELEASE))
                yield (
                    *(f"{count:,}" for count in (speakers, nodes, machines)),
                    *map(seconds, parts),
                    f"**{seconds(costs.seconds)}**",
                    size(costs.bytes_down),
                    size(costs.bytes_up),
                    costs.bottleneck,
                )


TITLES = (
    *("speakers", "nodes", "machines", "training, s", "server's sum, s", "models on the network, s"),
    *("sums on the network, s", "noise and step, s", "a round, s", "bytes down", "bytes up", "takes longest"),
)


def seconds(value: float) -> str:
    """Seconds with two digits or more."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def page(models: Sequence[Model], checked: Sequence[Checked], load: float) -> tuple[str, list[Ratio]]:
    """The text, and what the table of all pages has."""
    ratios = [
        Ratio(
            name=f"a round of {one.speakers} speakers on {one.nodes} nodes, predicted over measured",
            value=one.ratio,
            at_least=0.75,
            at_most=1.25,
        )
        for one in checked
    ]
    busy = "" if load <= QUIET_LOAD else "; what was measured has its other work in it"
    said = [
        conditions(),
        f"- load of the machine in the minute before it began: {load:.1f}{busy}",
        f"- a machine has {CORES} such processors; the server is on one of them and reaches the others by "
        f"{8e-9 * NETWORK_BYTES:g} Gbit/s",
    ]
    units = [("", *(model.name for model in models))]
    units.append(("values", *(f"{model.values:,}" for model in models)))
    units.append(("local training of a speaker, s", *(f"{model.update:.3g}" for model in models)))
    for what, title in COSTS.items():
        units.append((title, *(f"{1e9 * getattr(model.value, what):.2f}" for model in models)))
    compared = [("speakers", "nodes", "predicted, s", "measured, s", "predicted over measured", "")]
    for one, ratio in zip(checked, ratios, strict=True):
        numbers = (f"{one.predicted:.2f}", f"{one.measured:.2f}", f"{one.ratio:.2f}")
        compared.append((str(one.speakers), str(one.nodes), *numbers, ratio.verdict))
    parts = [
        "# What a round costs at scale",
        "\n".join(said),
        "## What was measured",
        table(units),
        "## Prediction and measurement",
        table(compared),
        f"Predicted as `murmur run --dry-run` does it; measured: the mean of {ROUNDS - 1} rounds of the "
        "first run's kind on this machine, all speakers in each. Goal: within a quarter.",
    ]
    for model in models:
        parts += [f"## Rounds of {model.name} model", table([TITLES, *rows(model)])]
    return "\n\n".join([*parts, NOTES]), ratios


COSTS = {
    "clip": "a node clips, rounds and adds an update, ns a value",
    "pack": "a node packs its sum, ns a value",
    "add": "the server unpacks, checks and adds an answer, ns a value",
    "noise": "the server's noise and mean, ns a value",
    "step": "the server's step, ns a value",
}
NOTES = f"""All rounds are predicted, none of these tables' was run. Training, the way of the sums and their
adding go on at the same time, and noise and step follow: a round is the longest of the first four and the
last. Bytes are those between the server and nodes on hosts of their own; in a simulation a round's model goes
to each machine once, and sums of the server's own machine are on no network. `tiny` has the first run's
speakers, with two utterances each, and its server's step; the paper's model takes {STEPS} local steps on
{STEP_SECONDS:g} seconds of speech each, on processors as these, and LAMB. A GPU changes the column of
training and no other: `--step-seconds` has a step of one (benchmarks/paper_model_gpu.py), and then a machine
has one.
`python -m benchmarks.scale` makes this page."""


def main() -> None:
    """Measure, predict, run and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checked", type=int, nargs="*", default=CHECKED, help="speakers of rounds to run")
    parser.add_argument("--step-seconds", type=float, help="of a GPU, for 120 s of speech")
    given = parser.parse_args()
    one_thread()
    load = os.getloadavg()[0]
    began = time.monotonic()
    models = [tiny(), paper()]
    if given.step_seconds:
        # A machine has one GPU, and `round` counts processors.
        update = CORES * STEPS * given.step_seconds
        models.append(replace(models[-1], name="the paper's (a GPU in each machine)", update=update))
    checked = list(checks(given.checked))
    text, ratios = page(models, checked, load)
    text += f" It took {time.monotonic() - began:.0f} s."
    write(Path(__file__).with_suffix(".md"), text, ratios)


if __name__ == "__main__":
    main()
