"""The soak's own eyes: what must hold is seen to hold, and each thing that does not is seen."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.soak.checks import Watch
from benchmarks.soak.events import Events, read_events
from benchmarks.soak.story import fault_rows, played
from privacy import Ledger, Release, epsilon, ledger_releases
from server.storage.checkpoints import save_checkpoint
from tests.server.storage.test_checkpoints import CHECKPOINT, replace

RELEASE = Release(sampling_rate=0.125, noise_multiplier=0.7)
DELTA = CHECKPOINT.plan.delta


class Runs:
    """A runs folder with one run of some rounds, as a ServerApp leaves it."""

    def __init__(self, path: Path, rounds: int) -> None:
        self.path, self.folder = path, path / "20270301-120000-1"
        (self.folder / "checkpoints").mkdir(parents=True)
        (self.folder / "config.toml").write_text("# privacy: x\n# run: mine\n")
        self.watch = Watch(path, Events(path / "events.jsonl"))
        for number in range(1, rounds + 1):
            self.spend(number)
            self.show(number)
        self.file(rounds)

    @property
    def ledger(self) -> Path:
        return self.path / "ledgers" / f"{CHECKPOINT.population_name}.jsonl"

    def spend(self, number: int, release: Release = RELEASE) -> None:
        with Ledger.open(self.ledger) as ledger:
            ledger.spend(release, run="mine", dataset=CHECKPOINT.population_name, round=number)
            self.head = ledger.head
            own = ledger_releases(ledger.entries)
            self.epsilon = epsilon(own, DELTA, pld=False).value

    def show(self, number: int, **changes) -> None:
        row = {"round": number, "wer": 0.5, "epsilon_rdp_this_run": self.epsilon, **changes}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def file(self, number: int, value: float = 0.0) -> None:
        kept = replace(CHECKPOINT, round_number=number, ledger_head=self.head)
        save_checkpoint(self.folder / "checkpoints" / f"round-{number:06d}.safetensors", kept)
        save_file({"x": torch.tensor([value])}, self.folder / "model.safetensors")

    def found(self) -> list[str]:
        """What is violated."""
        self.watch.look()
        self.watch.verify()
        self.watch.recompute()
        events = read_events(self.path / "events.jsonl")
        return sorted({event["of"] for event in events if event["what"] == "violation"})


@pytest.fixture
def runs(tmp_path):
    made = Runs(tmp_path, rounds=3)
    assert made.found() == []
    return made


def test_a_run_that_is_resumed_and_tries_a_round_again_violates_nothing(runs):
    runs.spend(4)  # and the ServerApp is killed before it releases the round
    runs.spend(4)
    runs.show(3, resumed=True)
    runs.show(4)
    runs.file(4)
    assert runs.found() == []
    assert runs.watch.released == 4


def test_a_round_that_was_shown_before_it_was_spent_is_seen(runs):
    runs.show(4)
    assert "spend first" in runs.found()


def test_a_round_shown_twice_and_spent_once_is_seen(runs):
    runs.show(3)
    assert runs.found() == ["spend first"]


def test_an_entry_that_is_gone_is_seen(runs):
    lines = runs.ledger.read_bytes().splitlines(keepends=True)
    runs.ledger.write_bytes(b"".join(lines[:-1]))
    assert {"ledger", "spend first", "verify"} <= set(runs.found())


def test_a_skipped_round_and_another_plan_are_seen(runs):
    runs.spend(5, Release(sampling_rate=0.25, noise_multiplier=0.7))
    assert runs.found() == ["ledger", "plan"]


def test_an_epsilon_that_is_not_the_ledgers_is_seen(runs):
    runs.spend(4)
    runs.show(4, epsilon_rdp_this_run=runs.epsilon * 0.999)
    assert runs.found() == ["epsilon"]


def test_a_model_that_is_not_finite_or_cut_is_seen(runs):
    runs.file(3, float("nan"))
    assert runs.found() == ["model"]


def test_a_damaged_checkpoint_is_seen(runs):
    file = runs.folder / "checkpoints" / "round-000003.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    assert "checkpoint" in runs.found()


def test_faults_are_told_by_their_family_with_the_worst(tmp_path):
    def fault(number, began, undone, recovered):
        yield {"what": "fault", "number": number, "t": began, "family": "partition"}
        yield {"what": "undone", "number": number, "t": undone}
        if recovered:
            seconds = {"seconds": recovered, "healthy_seconds": 1.0}
            yield {"what": "recovered", "number": number, "t": undone + recovered, **seconds}

    rounds = [{"what": "round", "t": t} for t in (5.0, 60.0, 100.0, 160.0)]
    events = [*rounds, *fault(1, 10.0, 40.0, 20.0), *fault(2, 70.0, 90.0, 70.0), *fault(3, 200.0, 210.0, 0)]
    assert fault_rows(played(events))[1:] == [("partition", "3", "1, 1", "45, 70", "60", "1")]
