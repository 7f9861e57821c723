"""How the cost of a round grows with nodes, model and cohort: `python -m benchmarks.growth`.

On the server whole rounds of the strategy, with replies that are made beforehand, since training a thousand
speakers would take hours: the model is packed and addressed, each reply unpacked, checked and added; ledger,
noise, LAMB. On a node real training of `tiny` on the embedded corpus. Times are those of a processor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.memory import ThinGrid, layout_of, made_node, recipe, register
from benchmarks.report import Ratio, conditions, one_thread, table, write
from cli.composing import default_config
from client.node import Node
from privacy import Ledger, PrivacyPlan
from recipes import RunConfig
from server.factory import make_bounds, starting_model
from strategies import (
    DPFedLAMB,
    GlobalModel,
    Mechanism,
    PopulationIndex,
    StreamingGrid,
    TrainingRun,
    bind,
    run_rounds,
)
from wire.messages import Task

WIDTHS = {"1x": 36, "10x": 120, "100x": 384}  # of the paper's model
NODES, COHORTS, SPEAKERS = (1, 2, 4, 8), (16, 64, 256, 1024), (4, 16, 64)
ROUNDS = 4
Times = dict[str, float]


def server_seconds(preset: str, nodes: int, cohort: int) -> float:
    """The shortest of `ROUNDS` rounds but the first, in seconds of a processor."""
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig.from_flat(recipe(Path(folder), preset, cohort))
        layout = layout_of(preset)
        bounds, quantiser = make_bounds(config.privacy, layout)
        plan = PrivacyPlan(population=cohort, cohort=cohort, rounds=ROUNDS, noise_multiplier=1.0, delta=1e-6)
        population = PopulationIndex.of(dict.fromkeys(range(1, nodes + 1), cohort // nodes))
        with Ledger.open(Path(folder, "ledger.jsonl")) as ledger:
            strategy = DPFedLAMB(
                model=GlobalModel(vector=torch.zeros(layout.size), layout=layout),
                mechanism=Mechanism(plan=plan, bounds=bounds, quantiser=quantiser),
                run=TrainingRun(
                    population_index=population, ledger=ledger, dataset="speakers", run_id="growth"
                ),
                learning_rate=1e-3,
            )
            node = made_node(config, cohort // nodes)
            ends = [time.process_time()]
            run_rounds(
                strategy,
                StreamingGrid(ThinGrid(dict.fromkeys(strategy.population_index.nodes, node))),
                first=1,
                last=ROUNDS,
                deadline_seconds=600.0,
                after_round=lambda number: ends.append(time.process_time()),
            )
    return min(end - begin for begin, end in pairwise(ends[1:]))


def node_seconds() -> Times:
    """Seconds of a node that trains so many speakers of the embedded corpus."""
    config = RunConfig.from_flat({**default_config(), "corpus.feature-cache": False})
    layout, vector = bind(starting_model(config.model, config.corpus.language))
    bounds, quantiser = make_bounds(config.privacy, layout)
    node = Node.of(config, {"partition-id": 0, "num-partitions": 1})
    seconds = {}
    for count in (max(SPEAKERS), *SPEAKERS):  # the first time computes their features
        task = Task(
            round_number=1,
            nonce="",
            layout=layout.digest,
            speakers=tuple(range(count)),
            bounds=bounds,
            quantiser=quantiser,
        )
        began = time.monotonic()  # its speakers are trained in a process of their own
        node.load(task, vector)
        node.train(task, node.speakers)
        seconds[str(count)] = time.monotonic() - began
    return {str(count): seconds[str(count)] for count in SPEAKERS}


def draw(measured: Mapping[str, Times], path: Path) -> None:
    """One picture for each thing that grows."""
    figure, axes = pyplot.subplots(
        1, len(measured), figsize=(3.2 * len(measured), 3), constrained_layout=True
    )
    for one, (title, times) in zip(axes, measured.items(), strict=True):
        one.plot(list(times), list(times.values()), marker="o")
        steep = max(times.values()) > 20 * min(times.values())
        one.set(title=title, **({"yscale": "log"} if steep else {"ylim": (0, None)}))
    axes[0].set(ylabel="seconds of a processor")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Measure and write the page and the picture."""
    one_thread()
    for preset, width in WIDTHS.items():
        register(preset, width)
    sizes = {preset: layout_of(preset).size for preset in WIDTHS}
    measured = {
        "server: nodes": {str(nodes): server_seconds("10x", nodes, 64) for nodes in NODES},
        "server: parameters": {
            f"{sizes[preset] / 1e6:.1f} M": server_seconds(preset, 8, 64) for preset in WIDTHS
        },
        "server: cohort": {str(cohort): server_seconds("10x", 8, cohort) for cohort in COHORTS},
        "node: speakers": node_seconds(),
    }
    rows = [("what grows", "to", "seconds of a processor", "beside the first")]
    for what, times in measured.items():
        first = next(iter(times.values()))
        rows += [(what, to, f"{seconds:.3f}", f"{seconds / first:.2f}") for to, seconds in times.items()]
    cohorts, nodes = measured["server: cohort"], measured["server: nodes"]
    small, middle, large = measured["server: parameters"].values()
    speakers = measured["node: speakers"]
    ratios = [
        Ratio(name="server's round, cohort of 1024 over one of 16", value=cohorts["1024"] / cohorts["16"]),
        Ratio(name="server's round, 8 nodes over 1", value=nodes["8"] / nodes["1"], at_most=8),
        Ratio(
            name="server's seconds a parameter, 100x over 1x",
            value=large / small / (sizes["100x"] / sizes["1x"]),
            at_most=1.1,
        ),
        Ratio(
            name="server's seconds a parameter, 100x over 10x",
            value=large / middle / (sizes["100x"] / sizes["10x"]),
            at_most=1.1,
        ),
        Ratio(
            name="node's seconds a speaker, 64 over 4", value=speakers["64"] / speakers["4"] / 16, at_most=1.1
        ),
    ]
    page = Path(__file__).with_suffix(".md")
    draw(measured, page.with_suffix(".png"))
    verdicts = ", ".join(f"{one.name}: {one.value:.2f} {one.verdict}".strip() for one in ratios)
    notes = NOTES.format(ten=sizes["10x"] / 1e6)
    text = f"# Growth\n\n{conditions()}\n\n![growth](growth.png)\n\n{table(rows)}\n\n{notes}\n\n{verdicts}."
    write(page, text, ratios)


NOTES = """Nodes: a cohort of 64, {ten:.1f} M parameters. Parameters and cohort: 8 nodes. Nothing on the
server knows of the cohort but the packed sums, which take more bits the more speakers are in them. At the
smallest model most of a round is what it costs whatever the model; at the largest nothing fits the caches."""

if __name__ == "__main__":
    sys.exit(main())
