"""The summary: each fact about a run is in it where there is one, and only then."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from cli.composing import default_config
from privacy import PrivacyPlan, Release, epsilon, epsilon_text
from privacy.ledger.lineage import Ancestor
from recipes import RunConfig
from server.evaluation import ModelEvaluations
from server.report.live_table import MOST_NAMED
from server.report.summary import RAW_METRICS, Course, summarise
from server.spending import Spending
from server.storage.run_folder import RunFolder
from speech.evaluation.evaluation import Evaluation

PLAN = PrivacyPlan(population=96, cohort=24.0, rounds=40, noise_multiplier=1.0, delta=1e-6)
CONFIG = RunConfig.from_flat({**default_config(), "run.sentences-shown": 1})
TWO = Release(sampling_rate=0.25, noise_multiplier=1.0, count=2)
FIVE = replace(TWO, count=5)


@dataclass
class Releases:
    """As much of an account as the summary reads."""

    own: tuple[Release, ...] = (TWO,)
    others: int = 0
    inherited: int = 0
    of_model: tuple[Release, ...] = (FIVE,)
    everything: tuple[Release, ...] = (FIVE,)
    elsewhere: tuple[Release, ...] = ()
    releases: int = 2
    lineage: tuple[Ancestor, ...] = ()
    ledger: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(path="/runs/ledgers/ward.jsonl"))


@pytest.fixture
def write(tmp_path):
    """Returns the summary of a run in which nothing happened, but for what is given."""

    def summary(*, account=None, synthetic=False, plan=PLAN, shared=(), unreadable=(), **happened):
        course = Course(
            config=happened.pop("config", CONFIG),
            folder=RunFolder(tmp_path),
            model="tiny model, 9 parameters",
            rounds=2,
            seconds=4.0,
            **{"stopped_because": "", "resumed_after": None, "failures": {}, "remarks": [], "skipped": 0}
            | happened,
        )
        held_out = SimpleNamespace(
            store=SimpleNamespace(skipped=unreadable), speakers_in_training=frozenset(shared)
        )
        first = Evaluation(loss=2.0, wer=0.5, cer=0.2, ids=("1",), hypotheses=("won",), references=("one",))
        last = replace(first, loss=1.0, wer=0.25, hypotheses=("",))
        spending = Spending(
            plan=plan,
            extrapolated=PLAN.extrapolate(1_000_000, 1024.0),
            account=account or Releases(),
            synthetic=synthetic,
        )
        return summarise(course, spending, ModelEvaluations(held_out=held_out, seed=first, newest=last))

    return summary


def test_a_plain_run_shows_sentences_errors_its_own_epsilon_and_the_ledger(write):
    text = write()
    assert "  said   one\n  seed   won\n  final  (nothing)" in text
    assert (
        "held-out WER (characters) 50.0 % -> 25.0 %, CER 20.0 % -> 20.0 %, loss 2.000 -> 1.000, in 2 rounds"
        in text
    )
    assert (
        f"population 96, expected cohort 24, noise multiplier 1, sigma_DP 0.0417: epsilon {own()} (by" in text
    )
    assert "all runs on these speakers add up in one ledger: /runs/ledgers/ward.jsonl" in text
    for word in ("note:", "privacy of the model", "other runs", "stopped", "privacy: none"):
        assert word not in text


def own():
    return epsilon_text(epsilon([TWO], PLAN.delta).value)


def test_the_epsilon_of_the_model_covers_the_runs_that_made_its_seed(write):
    private = Ancestor(run="a" * 32, people="p", private=True, delta=1e-6, releases=(TWO,))
    text = write(
        account=Releases(inherited=3, lineage=(private, replace(private, run="open", private=False)))
    )
    whole = epsilon_text(epsilon([FIVE], PLAN.delta).value)
    assert "3 releases of the runs that made its seed model (aaaaaaaa), for a person" in text
    assert text.index(f"  epsilon {whole} (by") < text.index(f"epsilon {own()} (by")


def test_other_runs_on_the_population_are_added_up(write):
    text = write(account=Releases(others=3))
    whole = epsilon_text(epsilon([FIVE], PLAN.delta).value)
    assert f"these speakers in all runs, with 3 releases of other runs on them: epsilon {whole} (by" in text
    text = write(account=Releases(others=3, elsewhere=(TWO,)), synthetic=True)
    assert (
        "these synthetic speakers in all runs" in text and "or on the speakers of its seed model: eps" in text
    )


def test_a_run_without_privacy_warns_before_its_epsilon_which_is_infinite(write):
    plan = replace(PLAN, noise_multiplier=0.0)
    account = Releases(own=(replace(TWO, noise_multiplier=0.0),))
    text = write(plan=plan, account=account)
    assert text.index("privacy: none. This run protects nobody: it adds no noise") < text.index(
        "privacy of this"
    )
    assert "epsilon infinite\n" in text


def test_what_happened_is_noted(write):
    failures = {node: ["late", "no reply"] for node in range(MOST_NAMED + 2)}
    text = write(
        stopped_because="the budget",
        resumed_after=1,
        failures=failures,
        remarks=["node 9 joined\x1b[2J"],
        skipped=3,
        unreadable=("x", "y"),
        shared=["a"],
    )
    assert "stopped before the last round: the budget\n" in text
    assert "note: resumed after round 1;" in text
    assert "note: node 0 was left out 2 times; the last reason: no reply\n" in text
    assert "note: and 2 more nodes were left out: traffic.jsonl names them all\n" in text
    assert f"node {MOST_NAMED} was" not in text
    assert "note: node 9 joined" in text and "\x1b" not in text
    assert "note: 3 utterances skipped" in text
    assert "note: 2 held-out utterances skipped, which could not be read" in text
    assert "note: 1 held-out speakers are also in the training data" in text


def test_metrics_without_noise_are_noted(write):
    flat = {**CONFIG.to_flat(), "run.raw-metrics": True}
    assert RAW_METRICS in write(config=RunConfig.from_flat(flat)) and RAW_METRICS not in write()
