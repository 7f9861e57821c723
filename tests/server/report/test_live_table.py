import math
from dataclasses import replace

import pytest

from privacy import PrivacyPlan, epsilon_text
from server.report.live_table import Row, heading, line
from strategies import RoundReport
from strategies.aggregation import DroppedNode

PLAN = PrivacyPlan(population=96, cohort=24.0, rounds=40, noise_multiplier=0.05, delta=1e-6)


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
    text = heading(PLAN, PLAN.extrapolate(1_000_000, 1024.0), held_out_speakers=20)
    assert "THIS run, as it is: population 96, expected cohort 24, delta 1e-06" in text
    assert "if the population were 1,000,000 and the cohort 1,024; not this run" in text
    spent = PLAN.epsilon_of(40)
    in_the_end = f"epsilon {epsilon_text(spent.value)} by {spent.accountant}, of this run's own population"
    assert f"when all 40 rounds are done: {in_the_end}" in text
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
    text = heading(replace(PLAN, **change), PLAN, held_out_speakers=20)
    assert text.startswith("privacy: none.")
    assert why in text.splitlines()[0]
    assert "privacy: none" not in heading(PLAN, PLAN, held_out_speakers=20)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.124"), (7.2228, "7.23"), (1234.5, "1,235"), (3.2e7, "3.2e+07"), (math.inf, "no privacy")],
)
def test_epsilons_fit_their_column(value, text):
    assert epsilon_text(value) == text


def test_other_runs_on_the_same_people_add_a_column():
    extrapolated = PLAN.extrapolate(1_000_000, 1024.0)
    assert "eps (people)" not in heading(PLAN, extrapolated, held_out_speakers=20)
    text = heading(PLAN, extrapolated, held_out_speakers=20, earlier=7)
    assert "eps (people): this run and 7 releases of earlier runs on the same people, together" in text
    first = line(row(epsilon_people=23456.0)).splitlines()[0]
    assert first.split()[-1] == "23,456"
    assert len(first) == len(text.splitlines()[-1])


def test_the_row_of_a_resumed_run_names_its_round():
    assert line(row(report=None, round_number=7)).split()[:2] == ["7", "-"]


def test_what_a_node_says_is_one_printable_line():
    found = row()
    said = replace(found.report, dropped=(DroppedNode(5, "x\x1b[2J\n    8   0.0"),))
    lines = line(replace(found, report=said)).split("\n")
    assert len(lines) == 2 and lines[1].isprintable()
