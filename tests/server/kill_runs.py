"""Kills servers with SIGKILL and looks at what they leave: `python -m tests.server.kill_runs CORPUS`.

One process imports everything once and forks a server for each attempt, so that an attempt takes a fraction
of a second; what its own runs have computed, the servers have too. The server is the real one; its nodes hold
silent speakers and write down every model they are sent, as a curious node would. With a plain step on the
server, two models in a row differ by the noise of the release between them.

Reads lines, `FOLDER SABOTAGE DEATHS` each; answers each by one JSON object: what was tried, and every
violation of what the ledger promises. All else that it prints goes to the standard error.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors import safe_open

from base.registries import MODEL_PRESETS
from privacy import Ledger, epsilon, ledger_releases, pld_epsilon, read_ledger
from server.errors import ResumeRefused
from server.storage.checkpoints import load_checkpoint
from server.storage.run_folder import RunFolder
from speech.model.checkpoint import load_model
from strategies import bind, dp_fed_opt
from tests.server.in_process import federate, recipe

PRESET = "killed"  # a model with little more than what is watched: `make_small_preset`
WATCHED = 20_000  # coordinates of a model that are written down and compared
TOO_ALIKE = 12 / WATCHED**0.5  # correlation of independent noise: 12 standard deviations, never by chance
# Of five speakers: a round whose cohort is empty shows no node the model; a cohort of 4 has one in 15 tests.
SETTINGS = {"training.cohort": 4.9, "training.rounds": 5, "server.learning-rate": 1.0,
            "server.schedule": "constant",
            "server.optimiser": "sgd", "server.momentum": 0.0, "model.name": PRESET}  # fmt: skip
DELTA = 1e-6
LOST = 2  # deaths, and so releases without a checkpoint, that a run may have
RANDOM_KILLS = 50


# --- How a server dies ----------------------------------------------------------------------------


def at_time(seconds):
    """Killed from outside after so long."""
    return lambda: None, seconds


def at_call(name, number, after):
    """Killed by itself before or after the `number`th call of `os.<name>`: between any two durable steps."""

    def arm():
        real, calls = getattr(os, name), [0]

        def call(*arguments, **keywords):
            calls[0] += 1
            if calls[0] == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **keywords)
            if calls[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(os, name, call)

    return arm, None


def random_deaths(seconds, seed=20260101):
    """Instants spread over a run that takes `seconds`, without end."""
    chosen = random.Random(seed)
    while True:
        yield at_time(chosen.uniform(0, seconds))


def every_death(step=1):
    """Before and after each durable step of a run of five rounds."""
    points = [("fsync", n) for n in range(1, 50, step)] + [("replace", n) for n in range(1, 21, step)]
    return [at_call(name, number, after) for name, number in points for after in (False, True)]


# --- Servers that break the promise: the check must find them -------------------------------------


def spend_late():
    """Each entry is written only when the next one comes."""
    real, held = Ledger.spend, []

    def spend(self, release, **names):
        if held:
            real(self, held[-1][0], **held[-1][1])
        held.append((release, names))

    Ledger.spend = spend


def same_noise():
    """The generator starts from the same key in every process."""

    class Seeded:
        generator = np.random.default_rng(0)

        def add_rounded_(self, sums, std_steps):
            sums += np.rint(self.generator.normal(0, std_steps, sums.shape)).astype(np.int64)

    dp_fed_opt.SecureGaussian = Seeded


SABOTAGE = {"none": lambda: None, "spend-late": spend_late, "same-noise": same_noise}


# --- One attempt ----------------------------------------------------------------------------------


def attempt(home: Path, corpus: Path, resume: bool, death, sabotage) -> tuple[int, dict[int, bytes]]:
    """Fork a server and wait for its end; its signal or status, and the models that nodes saw."""
    arm, seconds = death or (lambda: None, None)
    record = home / f"seen-{time.monotonic_ns()}.bin"
    if (child := os.fork()) == 0:
        _serve(home, corpus, resume, record, (sabotage, arm))
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, _read_record(record)


def _serve(home, corpus, resume, record, armed):
    status = 1
    try:
        out = os.open(home / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ["MURMUR_HOME"] = str(home)
        seen = os.open(record, os.O_WRONLY | os.O_CREAT)

        def saw(round_number, vector):
            os.write(seen, np.int64(round_number).tobytes() + vector[:WATCHED].numpy().tobytes())

        for arm in armed:
            arm()
        changes = {**SETTINGS, "run.resume": "latest" if resume else ""}
        federate(recipe(corpus, **changes), saw=saw, run_id=str(os.getpid()))
        status = 0
    except ResumeRefused:
        status = 3
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _read_record(path: Path) -> dict[int, bytes]:
    """State after n rounds -> the model, from the tasks of round n + 1; a torn record is left out."""
    content = path.read_bytes() if path.exists() else b""
    size = 8 + 4 * WATCHED
    whole = [content[start : start + size] for start in range(0, len(content) - size + 1, size)]
    return {int(np.frombuffer(one[:8], np.int64)[0]) - 1: one[8:] for one in whole}


# --- What is to be seen from outside --------------------------------------------------------------


@dataclass
class Case:
    """A run, its attempts, and everything that anyone could have seen of it."""

    home: Path
    corpus: Path
    sabotage: object
    models: set[bytes] = field(default_factory=set)
    noise: list[np.ndarray] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    kills: int = 0

    def play(self, deaths) -> None:
        """Die each death in turn, resume after each, and run to the end."""
        started = False
        for death in (*deaths, None):
            first = self._round_on_disk()
            status, seen = attempt(self.home, self.corpus, started, death, self.sabotage)
            self.kills += status == -signal.SIGKILL
            if status in (1, 3) or (death is None and status != 0):
                self._violation(f"an attempt ended with {status}: {self._output()}")
            self._look(seen, first)
            started = self._folder() is not None and self._folder().newest_checkpoint() is not None
            if not started and (self._entries() or self.models):
                self._violation("something was released, and there is nothing to resume")
        self._check_the_end()

    def _look(self, seen: dict[int, bytes], first: int | None) -> None:
        """Add what this attempt, which began after round `first`, has shown; compare with the ledger."""
        states = {**self._states_on_disk(), **seen}
        start = 0 if first is None else first
        seed = self._seed()
        self.models |= {model for model in (*states.values(), *self._model_on_disk()) if model != seed}
        for number in states:
            if number > start and number - 1 in states:
                after, before = (np.frombuffer(states[n], np.float32) for n in (number, number - 1))
                self.noise.append(after.astype(np.float64) - before)
        if len(self.models) > len(self._entries()):
            self._violation(f"{len(self.models)} models are visible, {len(self._entries())} entries on disk")

    def _check_the_end(self) -> None:
        entries = self._entries()
        if not entries:
            self._violation(f"{len(self.models)} models are visible, nothing is in the ledger")
            return
        folder = self._folder()
        last = json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[-1])
        spent = epsilon(ledger_releases(entries), DELTA, pld=False).rdp
        least = epsilon([entries[0].release] * len(self.models), DELTA, pld=False).rdp
        if not last["epsilon_rdp_this_run"] >= spent * (1 - 1e-9) >= least * (1 - 2e-9):
            self._violation(f"epsilon {last['epsilon_rdp_this_run']}, ledger {spent}, at least {least}")
        if last["round"] != SETTINGS["training.rounds"] or len(self.models) < last["round"]:
            self._violation(f"the run ended after round {last['round']} with {len(self.models)} models")

    def _violation(self, what: str) -> None:
        self.violations.append(what)

    def _output(self) -> str:
        return (self.home / "output.txt").read_text()[-600:]

    def _folder(self) -> RunFolder | None:
        latest = self.home / "runs" / "latest"
        return RunFolder(latest.resolve()) if latest.exists() else None

    def _entries(self):
        found = list((self.home / "runs" / "ledgers").glob("*.jsonl"))
        return read_ledger(found[0]) if found else ()  # raises if the chain is broken

    def _round_on_disk(self) -> int | None:
        newest = self._folder() and self._folder().newest_checkpoint()
        return load_checkpoint(newest).round_number if newest else None

    def _states_on_disk(self) -> dict[int, bytes]:
        states = {}
        if (folder := self._folder()) is not None:
            for path in (folder.path / "checkpoints").glob("*.safetensors"):
                with safe_open(path, framework="pt") as file:
                    states[int(file.metadata()["round"])] = _watched(file.get_tensor("vector"))
        return states

    def _seed(self) -> bytes | None:
        folder = self._folder()
        return _model(folder.seed) if folder and folder.seed.exists() else None

    def _model_on_disk(self) -> list[bytes]:
        folder = self._folder()
        return [_model(folder.model)] if folder and folder.model.exists() else []


def _model(path: Path) -> bytes:
    return _watched(bind(load_model(path).model)[1])


def _watched(vector: torch.Tensor) -> bytes:
    return vector[:WATCHED].numpy().tobytes()


def shared_noise(noise: list[np.ndarray]) -> list[str]:
    """Pairs of releases whose noise is not independent."""
    stacked = np.stack([one / np.linalg.norm(one) for one in noise])
    alike = np.abs(np.triu(stacked @ stacked.T, k=1)) > TOO_ALIKE
    return [f"releases {i} and {j} share noise" for i, j in np.argwhere(alike)]


def make_small_preset() -> None:
    tiny = MODEL_PRESETS["tiny"]
    shape = replace(tiny.shape, width=32, heads=2, feed_forward=64, layers=1)
    MODEL_PRESETS._added[PRESET] = replace(tiny, shape=shape)


def warm_up(folder: Path, corpus: Path) -> float:
    """Load and compute what every run needs; returns how long a run then takes, in seconds.

    The epsilons, and the model card's for two devices, are most of a run's work, and are kept.
    """
    os.environ["MURMUR_HOME"] = str(folder)
    for _ in range(2):  # the first one imports what is imported late
        began = time.monotonic()
        federate(recipe(corpus, **SETTINGS), run_id=str(time.monotonic_ns()))
    seconds = time.monotonic() - began
    (ledger,) = (folder / "runs" / "ledgers").glob("*.jsonl")
    one = read_ledger(ledger)[0].release
    for lost in range(LOST + 1):
        releases = [one] * (SETTINGS["training.rounds"] + lost)
        epsilon(releases, DELTA)
        pld_epsilon(releases, DELTA, devices=2)
    return seconds


def killed(folder: Path, corpus: Path, sabotage: str, deaths: str, seconds: float) -> dict[str, object]:
    """The report of all cases of a kind."""
    kinds = {
        "random": lambda: random_deaths(seconds),
        "every": lambda: every_death(step=4),
        "some": lambda: every_death(step=13),
    }
    report = {"cases": 0, "kills": 0, "releases": 0, "entries": 0, "seconds": seconds, "violations": []}
    noise = []
    more = random_deaths(seconds, seed=20260102)
    for number, death in enumerate(kinds[deaths]()):
        if deaths == "random" and report["kills"] >= RANDOM_KILLS:
            break
        home = folder / f"case-{number}"
        home.mkdir()
        case = Case(home, corpus, SABOTAGE[sabotage])
        # A third are killed once more, at another random instant, after they were resumed.
        again = [next(more)] if number % 3 == 0 else []
        case.play([death, *again])
        noise += case.noise
        report["cases"] += 1
        report["kills"] += case.kills
        report["releases"] += len(case.models)
        report["entries"] += len(case._entries())
        report["violations"] += [f"case {number}: {what}" for what in case.violations]
    report["violations"] += shared_noise(noise)[:10]
    report["noise_vectors"] = len(noise)
    return report


def main() -> None:
    corpus = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    make_small_preset()
    with TemporaryDirectory() as warm:
        seconds = warm_up(Path(warm), corpus)
    for line in sys.stdin:
        folder, sabotage, deaths = line.split()
        print(json.dumps(killed(Path(folder), corpus, sabotage, deaths, seconds)), file=answers, flush=True)


if __name__ == "__main__":
    main()
