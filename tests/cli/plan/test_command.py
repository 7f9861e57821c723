"""`murmur plan` answers as the library does, in one JSON object or a table, and refuses in one line."""

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.plan.command import plan
from privacy import epsilon_text

PAPER = ["--population", "69506000", "--cohort", "204800", "--rounds", "2034", "--delta", "1e-9"]
RATE = ["--sampling-rate", "0.25", "--rounds", "60", "--delta", "1e-5"]

app = typer.Typer()
app.command()(plan)


def ask(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout, parse_constant=pytest.fail)
    return answer


@pytest.mark.parametrize(
    ("scale", "noise", "rdp", "pld"),
    [
        (PAPER, "0.6144", 7.2228, 6.2945),
        (
            ["--population", "3475300", "--cohort", "102400", "--rounds", "2006", "--delta", "1e-9"],
            "2.048",
            4.4393,
            4.2158,
        ),
    ],
)
def test_headlines_of_the_paper(scale: list[str], noise: str, rdp: float, pld: float) -> None:
    answer = ask(*scale, "--noise-multiplier", noise)
    assert answer["epsilon"]["rdp"] == pytest.approx(rdp, rel=2e-3)
    assert answer["epsilon"]["pld"] == pytest.approx(pld, abs=1e-3)
    assert answer["claim"] == answer["epsilon"]["pld"]
    assert (answer["accountant"], answer["sampler"]) == ("PLD", "Poisson")
    assert answer["sigma_dp"] * answer["cohort"] == pytest.approx(float(noise))
    assert answer["sampling_rate"] == answer["cohort"] / answer["population"]


def test_noise_for_an_epsilon() -> None:
    by_rate = ask(*RATE, "--epsilon", "8")
    by_cohort = ask(*RATE[2:], "--population", "80", "--cohort", "20", "--epsilon", "8")
    assert by_rate["noise_multiplier"] == by_cohort["noise_multiplier"] == pytest.approx(1.4153, rel=1e-3)
    assert by_rate["epsilon"] == by_cohort["epsilon"]
    assert 7.9 < by_rate["claim"] <= 8
    assert (by_rate["sigma_dp"], by_rate["population"], by_rate["cohort"]) == (None, None, None)
    assert set(by_rate) == set(by_cohort)


def test_extrapolation_keeps_sigma_dp() -> None:
    here = ["--population", "34753", "--cohort", "1024", "--rounds", "2034", "--delta", "1e-9"]
    there = ["--extrapolate-population", "69506000", "--extrapolate-cohort", "204800"]
    answer = ask(*here, "--noise-multiplier", "0.003072", *there)
    assert answer["claim"] > 1e8
    assert answer["extrapolated"]["claim"] == pytest.approx(6.2945, abs=1e-3)
    assert answer["extrapolated"]["rdp_at_usual_orders"] == pytest.approx(7.2228, abs=1e-3)
    assert answer["extrapolated"]["sigma_dp"] == pytest.approx(answer["sigma_dp"])


def test_one_order_is_answered_beside_the_best() -> None:
    answer = ask(*RATE, "--noise-multiplier", "1", "--order", "2")
    assert answer["epsilon"]["rdp"] < answer["rdp_at_order"] < 10 * answer["epsilon"]["rdp"]
    assert "rdp_at_order" not in ask(*RATE, "--noise-multiplier", "0", "--order", "2")
    table = CliRunner().invoke(app, [*RATE, "--noise-multiplier", "1", "--order", "2"]).stdout
    assert epsilon_text(answer["rdp_at_order"], 6) in table


def test_an_order_is_asked_of_the_releases_that_bands_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight rounds together are one release of eight times the rate: more epsilon than plain rounds."""
    monkeypatch.setattr("cli.plan.bands.comparison", lambda *_: {})
    small = ["--sampling-rate", "0.01", "--rounds", "100", "--delta", "1e-6", "--noise-multiplier", "2"]
    plain, banded = (ask(*small, "--order", "4", "--bands", bands) for bands in ("1", "8"))
    assert banded["rdp_at_order"] > plain["rdp_at_order"]
    for answer in (plain, banded):
        assert answer["epsilon"]["rdp"] <= answer["rdp_at_usual_orders"] <= answer["rdp_at_order"]


def test_no_noise_is_no_number() -> None:
    answer = ask(*RATE, "--noise-multiplier", "0")
    assert answer["epsilon"] == {"rdp": None, "pld": None, "order": None}


def test_table_names_what_the_number_rests_on() -> None:
    result = CliRunner().invoke(app, [*PAPER, "--noise-multiplier", "0.6144"])
    assert result.exit_code == 0
    for said in (
        "7.212",
        "RDP in papers   7.22276",
        "6.294",
        "by PLD",
        "z = 0.6144",
        "3e-06",
        "Poisson",
        "add-or-remove",
        "69,506,000",
    ):
        assert said in result.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([*RATE, "--noise-multiplier", "1", "--population", "5", "--cohort", "1"], "--sampling-rate"),
        ([*RATE[2:], "--noise-multiplier", "1", "--population", "5"], "--cohort"),
        ([*RATE[2:], "--noise-multiplier", "1"], "--sampling-rate"),
        (RATE, "--noise-multiplier or --epsilon"),
        ([*RATE, "--noise-multiplier", "1", "--order", "1"], "--order must be above 1"),
        ([*RATE, "--noise-multiplier", "1", "--order", "nan"], "--order must be above 1"),
        ([*PAPER, "--noise-multiplier", "1", "--order", "2", "--cohort-cap", "300000"], "plain Poisson"),
        ([*PAPER, "--noise-multiplier", "1", "--bands", "4", "--cohort-cap", "300000"], "leave out one"),
        ([*PAPER, "--noise-multiplier", "1", "--bands", "auto", "--cohort-cap", "300000"], "--bands auto: a"),
        ([*RATE, "--noise-multiplier", "1", "--bands", "5"], "--bands 5: each round"),
        ([*RATE, "--noise-multiplier", "1", "--bands", "5"], "use at most 4 bands"),
        ([*RATE, "--noise-multiplier", "1", "--epsilon", "1"], "--noise-multiplier or --epsilon"),
        ([*RATE, "--noise-multiplier", "nan"], "noise_multiplier=nan"),
        ([*RATE, "--noise-multiplier", "1e-160"], "noise_multiplier=1e-160"),
        ([*RATE, "--epsilon", "-1"], "target_epsilon=-1.0"),
        ([*RATE, "--epsilon", "1e-7"], "higher epsilon"),
        (["--sampling-rate", "2", *RATE[2:], "--noise-multiplier", "1"], "sampling_rate=2.0"),
        ([*RATE[:2], "--rounds", "0", "--delta", "1e-5", "--noise-multiplier", "1"], "rounds=0"),
        ([*RATE[:4], "--delta", "1", "--noise-multiplier", "1"], "delta=1.0"),
        ([*RATE[2:], "--population", "5", "--cohort", "9", "--epsilon", "1"], "cohort=9.0"),
        ([*RATE, "--noise-multiplier", "1", "--extrapolate-cohort", "5"], "--extrapolate-population"),
        (
            [*RATE, "--noise-multiplier", "1", "--extrapolate-cohort", "5", "--extrapolate-population", "50"],
            "to extrapolate",
        ),
    ],
)
def test_bad_combinations_are_one_line_and_status_2(arguments: list[str], named: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert named in result.stderr


def test_missing_rounds_is_status_2() -> None:
    assert CliRunner().invoke(app, ["--sampling-rate", "0.1"]).exit_code == 2


def test_bands_are_compared_at_one_epsilon_and_judged() -> None:
    rate = ["--rounds", "2006", "--delta", "1e-9", "--epsilon"]
    small = ask("--sampling-rate", "0.00295", *rate, "7.2", "--bands", "8")
    (plain, eight) = small["bands_comparison"]["rows"]
    assert (plain["noise_multiplier"], eight["noise_multiplier"]) == pytest.approx((0.588, 0.792), rel=3e-3)
    assert eight["prefix_rmse_ratio"] == pytest.approx(0.565, abs=2e-3)
    assert small["noise_multiplier"] == pytest.approx(eight["noise_multiplier"], rel=2e-3)
    assert "helps the sum of the rounds: with 8 bands" in small["bands_comparison"]["verdict"]
    large = ask("--sampling-rate", "0.0295", *rate, "4.5", "--bands", "auto")["bands_comparison"]
    assert [row["bands"] for row in large["rows"]] == [1, 4, 8, 16, 32]
    assert large["recommended_bands"] == 1
    assert large["verdict"].startswith("does not help")


@pytest.mark.parametrize("bands", ["0", "two", "-1", "5"])
def test_impossible_bands_are_refused(bands: str) -> None:
    result = CliRunner().invoke(app, [*RATE, "--noise-multiplier", "1", "--bands", bands])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
