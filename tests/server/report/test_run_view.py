import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from privacy import PrivacyPlan
from server.report.live_table import Row
from server.report.run_view import CountedGrid, RunView
from strategies import RoundReport
from strategies.aggregation import DroppedNode
from wire.traffic import Traffic

PLAN = PrivacyPlan(population=100_000, cohort=640.0, rounds=24, noise_multiplier=0.53, delta=3e-6)
LARGER = PLAN.extrapolate(1_000_000, 1024.0)
REPORT = RoundReport(
    round_number=9,
    drawn=615,
    nodes_asked=8,
    nodes_answered=7,
    learning_rate=0.1,
    statistics={"clipped_share": 0.96, "train_loss": 3.2},
    dropped=(DroppedNode(5, "late"),),
    traffic=(Traffic(node=5, bytes_down=4_000_000, bytes_up=900_000),),
)


def row(**changes):
    values = {"loss": 16.5, "wer": 0.458, "cer": 0.157, "seconds": 14.0}
    epsilons = {"epsilon_run": 6.26, "epsilon_extrapolated": 1.5}
    return Row(**{"report": REPORT, **values, **epsilons, **changes})


def view(plan=PLAN):
    seen = RunView(name="run-1", plan=plan, extrapolated=LARGER)
    seen.add(row(report=None, loss=29.6, wer=0.616, cer=0.243, epsilon_run=0.0))
    seen.add(row())
    return seen


def shown(seen, width=100, height=40):
    file = io.StringIO()
    Console(file=file, width=width, height=height).print(seen.lines(width, height))
    return file.getvalue()


def test_the_view_has_round_answers_rates_epsilon_and_traffic():
    seen = view()
    list(CountedGrid(Answers(), seen).send_and_receive(["a", "b"]))
    text = shown(seen)
    for words in (
        "9 of 24",
        "left",
        "2 of 2 answered; last round 615 speakers, 1 nodes left out",
        "16.500",
        "45.8 % █▁  from 61.6 %",
        "6.26 of",
        "(24 rounds) this run",
        "1.5 not this run: population 1,000,000",
        "clipped share 0.96, train loss 3.20 (noised and charged)",
        "4.0 MB down, 0.9 MB up",
        "evaluating",
    ):
        assert words in text, words


class Answers:
    def send_and_receive(self, messages, *, timeout=None):
        yield from messages


@pytest.mark.parametrize(("width", "height"), [(100, 40), (80, 24), (44, 24), (20, 8), (80, 6), (1, 1)])
def test_every_line_fits_its_terminal_and_some_rows_stay_for_the_table(width, height):
    lines = shown(view(), width, height).splitlines()
    assert len(lines) <= max(1, height - 2)
    assert all(len(line) < max(2, width) for line in lines)


def test_on_a_low_or_narrow_terminal_what_matters_most_stays():
    for size in ((100, 12), (50, 24)):
        text = shown(view(), *size)
        assert "9 of 24" in text and "45.8 %" in text and "6.26" in text and "loss" not in text


def test_a_run_without_privacy_says_so_and_has_no_bar_of_epsilon():
    open_plan = replace(PLAN, noise_multiplier=0.0)
    text = shown(view(open_plan))
    assert "This run protects nobody" in text and "epsilon" not in text and "as released" in text


def test_a_budget_fills_the_bar():
    assert "6.26 of 9 (the budget)" in shown(view(replace(PLAN, epsilon_budget=9.0)))


def test_what_other_runs_spent_is_on_lines_of_its_own():
    seen = view()
    seen.add(row(epsilon_model=7.0, epsilon_population=8.0))
    text = shown(seen)
    assert "7 of the model" in text and "8 of these speakers" in text


def test_before_the_first_row_nothing_is_invented():
    seen = RunView(name="run-1", plan=PLAN, extrapolated=LARGER)
    text = shown(seen)
    assert math.isnan(seen.seconds_left) and "left" not in text and "0 of 24" in text


def test_rounds_without_an_evaluation_keep_the_last_rates():
    seen = view()
    seen.add(row(loss=math.nan, wer=math.nan, cer=math.nan))
    assert "45.8 %" in shown(seen)
