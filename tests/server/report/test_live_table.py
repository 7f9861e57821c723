import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from privacy import PrivacyPlan, epsilon_text
from server.report.live_table import Row, heading, line, noise_in_words
from server.spending import Spending
from strategies import RoundReport
from strategies.aggregation import DroppedNode

PLAN = PrivacyPlan(population=96, cohort=24.0, rounds=40, noise_multiplier=0.05, delta=1e-6)


@dataclass
class Releases:
    """As much of an account as the heading reads."""

    others: int = 0
    inherited: int = 0


def spending(plan=PLAN, **counts):
    larger = PLAN.extrapolate(1_000_000, 1024.0)
    return Spending(plan=plan, extrapolated=larger, account=Releases(**counts), synthetic=False)


def row(**changes):
    report = RoundReport(
        round_number=7,
        drawn=22,
        nodes_asked=8,
        nodes_answered=7,
        learning_rate=0.1,
        statistics={"clipped_share": 1.02, "train_loss": 3.0},
        dropped=(DroppedNode(5, "no reply before the deadline"),),
    )
    values = {
        "report": report,
        "loss": 1.5,
        "wer": 0.4321,
        "cer": 0.1234,
        "seconds": 3.21,
        "epsilon_run": 12345.6,
        "epsilon_extrapolated": 7.224,
        **changes,
    }
    return Row(**values)


def test_a_line_holds_every_number_in_its_column():
    first, second = line(row()).splitlines()
    assert first.split() == ["7", "22", "1.500", "43.2", "12.3", "1.00", "3.2", "12,346", "7.23"]
    assert second.strip() == "node 5 left out: no reply before the deadline"


def test_what_was_not_measured_is_a_dash():
    cells = line(row(loss=math.nan, wer=math.nan, cer=math.nan)).split()
    assert cells[2:5] == ["-", "-", "-"]


def test_the_heading_says_whose_epsilon_is_whose():
    text = heading(spending(), held_out_speakers=20)
    assert "THIS run: population 96, expected cohort 24, delta 1e-06" in text
    assert (
        "not this run, but the same noise on the mean with a population of 1,000,000 and a cohort of 1,024"
        in text
    )
    spent = PLAN.epsilon_of(40)
    assert f"after all 40 rounds: epsilon {epsilon_text(spent.value)} by {spent.accountant}, for" in text
    assert "zero-out" in text
    assert "Poisson" in text
    assert "RDP" in text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"noise_multiplier": 0.0}, "no noise"),
        ({"noise_source": "seeded-not-private"}, "repeated from a seed"),
    ],
)
def test_a_run_without_privacy_says_so_first(change, why):
    text = heading(spending(replace(PLAN, **change)), held_out_speakers=20)
    assert text.startswith("privacy: none.")
    assert why in text.splitlines()[0]
    assert "privacy: none" not in heading(spending(), held_out_speakers=20)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.124"), (7.2228, "7.23"), (1234.5, "1,235"), (3.2e7, "3.2e+07"), (math.inf, "no privacy")],
)
def test_epsilons_fit_their_column(value, text):
    assert epsilon_text(value) == text


def test_the_noise_of_a_round_stands_beside_the_bound_of_a_speaker():
    """z C sqrt(d) / (q N), against a sample of such noise."""
    plan, bound, trained = replace(PLAN, noise_multiplier=2.0), 0.5, 10_000
    drawn = np.random.default_rng(0).normal(0, 2.0 * bound, trained) / plan.cohort
    text = noise_in_words(plan, bound, trained)
    stated = float(re.search(r"norm ([\d.]+),", text)[1])
    assert stated == pytest.approx(np.linalg.norm(drawn), rel=0.03)
    assert "10,000 trained parameters; one speaker's update has at most 0.5\n" in text


@pytest.mark.parametrize("change", [{"noise_multiplier": 0.0}, {"noise_source": "seeded-not-private"}])
def test_a_run_without_privacy_states_no_noise(change):
    assert noise_in_words(replace(PLAN, **change), 0.5, 100) == ""


def test_other_runs_on_the_same_population_add_a_column():
    assert "eps (population)" not in heading(spending(), held_out_speakers=20)
    text = heading(spending(others=7), held_out_speakers=20)
    assert "eps (population): this run and 7 releases of earlier runs on the same speakers, together" in text
    first = line(row(epsilon_population=23456.0)).splitlines()[0]
    assert first.split()[-1] == "23,456"
    assert len(first) == len(text.splitlines()[-1])


def test_the_row_of_a_resumed_run_names_its_round():
    assert line(row(report=None, round_number=7)).split()[:2] == ["7", "-"]


def test_what_a_node_sends_is_one_printable_line():
    found = row()
    report = replace(found.report, dropped=(DroppedNode(5, "x\x1b[2J\n    8   0.0"),))
    lines = line(replace(found, report=report)).split("\n")
    assert len(lines) == 2 and lines[1].isprintable()
