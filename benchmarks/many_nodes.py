"""A round that contacts 1,000 nodes, beside a bare loop and Flower's own: `python -m benchmarks.many_nodes`.

The goals: no reply is dropped, at 1,000 nodes and at 10,000; a round takes at most 1.5 of the bare loop over
as many speakers, 1.1 where 64 hosts hold the nodes, and a third of Flower's FedAdam in its DP wrapper; the
server's memory does not grow with the nodes that are contacted; and 100,000 nodes on hosts are registered in
two minutes and 2 GB, and a cohort of them is drawn and addressed in a second. Each node holds one
synthetic speaker with one utterance, on which all train by our `LocalTrainer`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from flwr.app import ConfigRecord

from benchmarks.report import Ratio, conditions, table, write
from benchmarks.simulation import ROOT
from benchmarks.simulation_speakers import PRESET, PROCESSES
from benchmarks.watch import Watch, every_half_second
from cli.processes import QUIET
from optim import SGD
from privacy import Ledger, PrivacyPlan
from speech.model.ctc_transformer import build_model
from strategies import DPFedOpt, GlobalModel, Mechanism, PopulationIndex, ServerStep, TrainingRun
from strategies.direct_grid import DirectGrid
from strategies.flower_seam import act_as_task
from strategies.hosting import Hosted
from tests.processes import environment

COHORT = 1_000
MOST = 10_000  # nodes
HOSTED, HOSTS = 100_000, 64  # nodes, and the SuperNodes that hold them
ROUNDS = 4  # of ours and of the bare loop: the first also loads and compiles, the others are timed
TURNS = 3
FLOWERS_ROUNDS = 1  # it takes many minutes, beside which what it loads is little
LIMIT_SECONDS = 3600.0
SERVERS = ("cli.run.simulation_process", "benchmarks.many_nodes_flower", "benchmarks.many_nodes_bare")
WORKER = "ray::"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run took: seconds of the clock and of the server's processor, and peaks in MB.

    `round` and `update` are medians of the timed rounds, the latter for each client update.
    """

    asked: int
    answered: int
    whole: float
    round: float
    processor: float
    server: float
    worker: float
    registered: float
    update: float

    def row(self, name: str) -> tuple[str, ...]:
        """A line of the page."""
        numbers = (self.registered, self.whole, self.round, self.processor, self.server, self.worker)
        told = ("" if math.isnan(number) else f"{number:,.0f}" for number in numbers)
        return name, f"{self.asked:,}", f"{self.asked - self.answered:,}", *told


HEADING = (
    *("", "asked in all rounds", "of them dropped", "registered, s", "the run, s", "a round, s"),
    *("server, CPU s", "server, MB", "worker, MB"),
)


def ours(home: Path, nodes: int, cohort: int, hosts: int = 0, rounds: int = ROUNDS) -> tuple[list[str], Path]:
    """`murmur run`, and where it tells of its rounds."""
    settings = (
        f"training.rounds={rounds} training.cohort={float(cohort)} training.evaluate-every={10 * rounds} "
        f"training.wait-seconds={LIMIT_SECONDS} training.round-deadline-seconds={LIMIT_SECONDS} "
        "privacy.noise-multiplier=1.0 run.sentences-shown=0 corpus.feature-cache=false "
        f'corpus.kind="synthetic" corpus.path="{nodes}x1"'
    )
    command = [sys.executable, "-c", "from cli.main import main; main()", "run", "--nodes", str(nodes)]
    folder = home / "runs" / "latest"
    return [*command, "--hosts", str(hosts), "--set", settings], folder / "traffic.jsonl"


def flower(home: Path, nodes: int) -> tuple[list[str], Path]:
    """Flower's own loop, and where it tells of its rounds."""
    log = home / "flower.jsonl"
    return [
        sys.executable,
        "-m",
        "benchmarks.many_nodes_flower",
        str(log),
        str(FLOWERS_ROUNDS),
        str(nodes),
    ], log


def bare(home: Path, cohort: int, speakers: int, rounds: int = ROUNDS) -> tuple[list[str], Path]:
    """The loop without a federation, and where it tells of its rounds."""
    log = home / "bare.jsonl"
    numbers = map(str, (rounds, cohort, speakers))
    return [sys.executable, "-m", "benchmarks.many_nodes_bare", str(log), *numbers], log


def measure(home: Path, command: Sequence[str], log: Path) -> Run:
    """Run `command` to its end, with an eye on its processes."""
    variables = {**environment(home), **QUIET, "PYTHONPATH": str(ROOT)}
    watch = Watch(str(home), (*SERVERS, WORKER))
    began, at = time.monotonic(), time.time()
    with ExitStack() as stack:
        stack.callback(every_half_second(watch.look))
        done = subprocess.run(
            command,
            cwd=home,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    whole = time.monotonic() - began
    lines = log.read_text().splitlines() if log.exists() else []
    rounds = [line for line in map(json.loads, lines) if "drawn" in line]
    if done.returncode or not rounds or not all(line["nodes_answered"] for line in rounds):
        raise SystemExit(f"the run did not end well:\n{done.stdout[-3000:]}")
    timed = rounds[1:] or rounds
    made = log.with_name("config.toml")  # written after the registration
    return Run(
        registered=made.stat().st_mtime - at if made.exists() else math.nan,
        asked=sum(line.get("nodes_asked", line["drawn"]) for line in rounds),
        answered=sum(line["nodes_answered"] for line in rounds),
        whole=whole,
        round=median(line["seconds"] for line in timed),
        update=median(line["seconds"] / line["drawn"] for line in timed),
        processor=sum(watch.processor_seconds(one) for one in SERVERS),
        server=max(watch.peak(one) for one in SERVERS) / 1e6,
        worker=watch.peak(WORKER) / 1e6,
    )


BARE = f"a bare loop, {COHORT:,} speakers"
FLOWERS, MANY, FEW = f"Flower, {COHORT:,} nodes", f"ours, {COHORT:,} nodes", "ours, 64 nodes"
MOST_NODES, ON_HOSTS = (
    f"ours, {MOST:,} nodes, a cohort of {COHORT:,}",
    f"ours, {MOST:,} nodes on {HOSTS} hosts",
)
VAST = f"ours, {HOSTED:,} nodes on {HOSTS} hosts"
PARTIES = {
    BARE: lambda home: bare(home, COHORT, MOST),
    FLOWERS: lambda home: flower(home, COHORT),
    MANY: lambda home: ours(home, COHORT, COHORT),
    FEW: lambda home: ours(home, 64, 64),
    MOST_NODES: lambda home: ours(home, MOST, COHORT),
    ON_HOSTS: lambda home: ours(home, MOST, COHORT, HOSTS),
    VAST: lambda home: ours(home, HOSTED, COHORT, HOSTS),
}
ORDER = (FLOWERS, MANY, FEW, VAST, *TURNS * (BARE, MOST_NODES, BARE, ON_HOSTS), BARE)


def beside_the_loop(runs: Sequence[tuple[str, Run]], party: str) -> list[float]:
    """A party's update over the mean of the bare loop's just before and just after it, turn by turn."""
    return [
        2 * run.update / (runs[place - 1][1].update + runs[place + 1][1].update)
        for place, (name, run) in enumerate(runs)
        if name == party
    ]


def middle(runs: Sequence[tuple[str, Run]], party: str) -> Run:
    """The run of a party with the middle update."""
    of_party = sorted((run for name, run in runs if name == party), key=lambda run: run.update)
    return of_party[len(of_party) // 2]


def addressing_seconds() -> float:
    """Seconds to draw a cohort of `HOSTED` nodes and to make its messages."""
    module = build_model(PRESET, seed=0)
    index = PopulationIndex.of(dict.fromkeys(range(HOSTED), 1))
    plan = PrivacyPlan(population=HOSTED, cohort=float(COHORT), rounds=1, noise_multiplier=1.0, delta=1e-6)
    model = GlobalModel.of(module)
    hosted = Hosted(hosts={part: part + 1 for part in range(HOSTS)}, parts=HOSTS, nodes=HOSTED)
    act_as_task()
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder, "ledger.jsonl")) as ledger:
        strategy = DPFedOpt(
            model=model,
            mechanism=Mechanism.of(plan, model.layout, clip_bound=0.5),
            server_step=ServerStep(optimiser=SGD(momentum=0.0), learning_rate=1.0),
            run=TrainingRun(
                population_index=index, ledger=ledger, dataset="d", run_id="r", addressing=hosted
            ),
        )
        began = time.monotonic()
        strategy.configure_train(1, strategy.arrays(), ConfigRecord(), DirectGrid({}))
        return time.monotonic() - began


def main() -> None:
    """Measure every party and write the page."""
    runs: list[tuple[str, Run]] = []
    load_before = os.getloadavg()[0]
    for name in ORDER:
        with tempfile.TemporaryDirectory() as folder:
            runs.append((name, measure(Path(folder), *PARTIES[name](Path(folder)))))
        print(runs[-1][1].row(name), f"{1000 * runs[-1][1].update:.2f} ms an update", flush=True)
    theirs, many, few, most, vast = (middle(runs, party) for party in (FLOWERS, MANY, FEW, MOST_NODES, VAST))
    separate, hosted = (beside_the_loop(runs, party) for party in (MOST_NODES, ON_HOSTS))
    ratios = [
        Ratio(name="replies dropped, 1,000 nodes", value=many.asked - many.answered, at_most=0),
        Ratio(name="replies dropped, 10,000 nodes", value=most.asked - most.answered, at_most=0),
        Ratio(
            name="an update at 10,000 nodes over the bare loop's",
            value=median(separate),
            at_most=1.5,
        ),
        Ratio(
            name="client updates a second beside Flower's", value=theirs.update / many.update, at_least=3.0
        ),
        Ratio(name="server's memory, 1,000 nodes over 64", value=many.server / few.server, at_most=1.1),
        Ratio(name="server's memory, 10,000 nodes over 64", value=most.server / few.server, at_most=1.4),
        Ratio(
            name=f"an update at 10,000 nodes on {HOSTS} hosts over the bare loop's",
            value=median(hosted),
            at_most=1.1,
        ),
        Ratio(
            name=f"replies dropped, {HOSTED:,} nodes on {HOSTS} hosts",
            value=vast.asked - vast.answered,
            at_most=0,
        ),
        Ratio(name=f"seconds until {HOSTED:,} nodes are registered", value=vast.registered, at_most=120),
        Ratio(name=f"server's memory in GB, {HOSTED:,} nodes", value=vast.server / 1000, at_most=2.0),
        Ratio(
            name=f"seconds to draw {COHORT:,} of {HOSTED:,} nodes and make their messages",
            value=addressing_seconds(),
            at_most=1.0,
        ),
        Ratio(name="server's memory, ours over Flower's", value=many.server / theirs.server, at_most=1.0),
    ]
    verdicts = "\n".join(f"- {one.name}: {one.value:.3g} ({one.goal}: {one.verdict})" for one in ratios)
    rows = [HEADING, *(middle(runs, party).row(party) for party in PARTIES)]
    turns = "; ".join(
        f"{party}: {', '.join(f'{one:.2f}' for one in found)}"
        for party, found in ((MOST_NODES, separate), (ON_HOSTS, hosted))
    )
    verdicts = f"Over the bare loop, turn by turn: {turns}.\n\n{verdicts}"
    load = (
        f"- load of the machine in the minute before it began: {load_before:.1f}; wall clocks measure it too"
    )
    parts = ["# A round that contacts 1,000 nodes", f"{conditions()}\n{load}", table(rows), NOTES, verdicts]
    write(Path(__file__).with_suffix(".md"), "\n\n".join(parts), ratios)


NOTES = f"""`tiny`, {PROCESSES} processes of local training, {ROUNDS} rounds of ours and of the bare loop, of
which all but the first are timed (their median), and {FLOWERS_ROUNDS} of Flower's. A run is from the command
to its end: Ray's start, for ours the registration of all nodes and two evaluations, in it; "registered" is
from the command to the end of the registration. The bare loop is `LocalTrainer.update` in as many processes
and nothing else: no federation, no clipping, no release. It and the two of ours that are compared with it
take {TURNS} turns: each ratio is to the mean of the bare loop just before and just after, and of the turns'
ratios the middle one counts. The server is the process that holds ServerApp, Flower's state and
simulation engine; its processor seconds are those of the whole run, its peak and the largest worker's of
resident memory. Ours makes a release with secure noise, ledger, checkpoint and model files in each round.
Flower's keeps all replies of a round."""

if __name__ == "__main__":
    main()
