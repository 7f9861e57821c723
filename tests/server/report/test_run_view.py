import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from privacy import PrivacyPlan
from privacy.group_statistics import ReleasedGroup
from privacy.layout import LayerLayout
from server.report.layer_norms import LayerNorms
from server.report.live_table import Row
from server.report.run_view import CountedGrid, RunView
from strategies import Mechanism, RoundReport
from strategies.aggregation import DroppedNode
from wire.raw_metrics import RawMetrics
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
        "2 of 2 answered; last round 615 speakers, 1 node left out",
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


LAYERS = LayerLayout.of(
    {"front.w": (4,), "blocks.0.a": (9,), "blocks.0.b": (16,), "blocks.1.a": (9,), "out.w": (4,)}
)


def with_norms(plan=PLAN, rule="uniform", norms=(1.0, 3.0, 4.0, 0.01, 0.2)):
    mechanism = Mechanism.of(plan, LAYERS, clip_bound=1.0, clip_rule=rule)
    layers = LayerNorms.of(LAYERS, mechanism)
    layers.add(8, RawMetrics(trained=1, update_norms=(9.0,) * 5))
    for speakers in (1, 3):  # the round after, of two nodes
        layers.add(9, RawMetrics(trained=speakers, update_norms=tuple(speakers * one for one in norms)))
    layers.add(9, RawMetrics())  # a node that trained nobody
    seen = view(plan)
    seen.layers = layers
    return seen, mechanism


def test_norms_without_noise_are_shown_by_layer_and_marked():
    seen, mechanism = with_norms()
    text = shown(seen)
    assert "without noise, no epsilon" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[-4:]}
    assert list(rows) == ["front", "blocks.0", "blocks.1", "out"]
    assert [row[0] for row in rows.values()] == ["1", "5", "0.01", "0.2"]
    assert [row[1:4] for row in rows.values()] == [
        *(["1", "of", "1"], ["2", "of", "2"], ["0", "of", "1"], ["0", "of", "1"]),
    ]
    bound = mechanism.bounds.bounds[1]
    noise = PLAN.sigma_dp * mechanism.bounds.total * 25**0.5
    assert float(rows["blocks.0"][4]) == pytest.approx(2**0.5 * bound / noise, rel=0.05)


def test_a_run_that_sends_no_norms_shows_none():
    seen = view()
    assert "without noise" not in shown(seen)
    seen.layers = LayerNorms(LAYERS, None, None)
    assert "without noise" not in shown(seen)


def test_without_bounds_of_tensors_or_with_bands_less_is_said():
    (line,) = [one for one in shown(with_norms(rule="global")[0]).splitlines() if "blocks.0" in one]
    assert line.split() == ["blocks.0", "5"]
    (line,) = [one for one in shown(with_norms(replace(PLAN, bands=8))[0]).splitlines() if "blocks.0" in one]
    assert line.split() == ["blocks.0", "5", "2", "of", "2"]


@pytest.mark.parametrize(
    ("width", "height"), [(100, 40), (80, 24), (60, 24), (60, 30), (59, 40), (80, 15), (1, 1)]
)
def test_norms_by_layer_break_no_terminal(width, height):
    lines = shown(with_norms()[0], width, height).splitlines()
    assert len(lines) <= max(1, height - 2) and all(len(line) < max(2, width) for line in lines)
    has_room = width >= 60 and height >= 24
    assert any("without noise" in line for line in lines) == has_room
    if has_room:
        assert any(line.split()[:1] == ["traffic"] for line in lines)


def test_neighbours_are_put_together_where_there_is_room_for_few():
    seen, _ = with_norms()
    groups = seen.layers.groups(2)
    assert [one.name for one in groups] == ["front to blocks.0", "blocks.1 to out"]
    assert groups[0].norm == pytest.approx(26**0.5) and groups[0].tensors == 3


RELEASED = tuple(
    ReleasedGroup(name=f"blocks.{n}", update_norm=0.25 * n, clipped_share=n - 1.5, signal_to_noise=n / 8)
    for n in range(8)
)


def with_groups(groups, plan=PLAN):
    seen = view(plan)
    seen.add(row(report=replace(REPORT, groups=groups)))
    return seen


def test_what_the_release_says_of_layers_is_shown_as_noised_and_charged():
    lines = shown(with_groups(RELEASED)).splitlines()
    (title,) = [index for index, line in enumerate(lines) if line.startswith("layers")]
    assert "noised and charged: norm, clipped, signal/noise" in lines[title]
    assert lines[title + 1].split() == ["blocks.0", "0", "0", "%", "0"]  # a share is shown within [0, 1]
    assert lines[title + 3].split() == ["blocks.2", "0.5", "50", "%", "0.25"]
    assert lines[title + 8].split() == ["blocks.7", "1.75", "100", "%", "0.88"]


def test_signal_to_noise_is_shown_alone_and_norms_without_noise_in_place_of_all():
    alone = tuple(ReleasedGroup(name=one.name, signal_to_noise=one.signal_to_noise) for one in RELEASED)
    text = shown(with_groups(alone))
    assert "noised and charged: signal/noise" in text and "blocks.7                    0.88" in text
    seen = with_norms()[0]
    seen.add(row(report=replace(REPORT, groups=RELEASED)))
    assert "without noise" in shown(seen) and "blocks.7" not in shown(seen)


@pytest.mark.parametrize(("width", "height"), [(100, 40), (80, 24), (60, 22), (59, 40), (80, 15), (1, 1)])
def test_released_groups_break_no_terminal(width, height):
    lines = shown(with_groups(RELEASED), width, height).splitlines()
    assert len(lines) <= max(1, height - 2) and all(len(line) < max(2, width) for line in lines)
    if (width, height) == (80, 24):
        assert any("of 8)" in line for line in lines)
