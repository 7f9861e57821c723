"""`murmur plan`: what a run would promise, before anyone trains anything."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from privacy.plan import PrivacyPlan

NOISE_CONVENTION = "noise_multiplier z = std of the noise on the SUM of updates / clip bound C"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked: exactly one way to name the sampling and exactly one of noise and epsilon."""

    population: int | None
    cohort: float | None
    sampling_rate: float | None
    rounds: int
    noise_multiplier: float | None
    epsilon: float | None
    delta: float
    extrapolate_population: int | None
    extrapolate_cohort: float | None
    order: float | None = None

    def __post_init__(self) -> None:
        by_cohort = self.population is not None and self.cohort is not None
        if by_cohort == (self.sampling_rate is not None) or (self.population is None) != (
            self.cohort is None
        ):
            raise ValueError("give either --population and --cohort, or --sampling-rate")
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise ValueError("give either --noise-multiplier or --epsilon")
        if (self.extrapolate_population is None) != (self.extrapolate_cohort is None):
            raise ValueError("--extrapolate-population and --extrapolate-cohort go together")
        if self.extrapolate_cohort is not None and not by_cohort:
            raise ValueError("to extrapolate, give --population and --cohort: sigma_DP is z / cohort")
        if self.order is not None and not 1 < self.order < math.inf:
            raise ValueError(f"--order must be above 1 and finite, got {self.order!r}")


def plan(
    rounds: Annotated[int, typer.Option(help="Rounds of the run, T.")],
    delta: Annotated[float, typer.Option(help="Probability with which epsilon may fail.")],
    population: Annotated[int | None, typer.Option(help="Speakers in all, N.")] = None,
    cohort: Annotated[float | None, typer.Option(help="Speakers expected in a round, S.")] = None,
    sampling_rate: Annotated[
        float | None, typer.Option(help="S / N, if N and S are not to be named.")
    ] = None,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="Std of the noise on the sum over the clip bound, z.")
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Find the least noise that meets this epsilon.")
    ] = None,
    extrapolate_population: Annotated[
        int | None,
        typer.Option(help="Also say what the same sigma_DP would give with this many speakers ..."),
    ] = None,
    extrapolate_cohort: Annotated[float | None, typer.Option(help="... and this cohort.")] = None,
    order: Annotated[
        float | None, typer.Option(help="Also say epsilon by RDP at this one Renyi order, as papers do.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Epsilon of a run, or the noise it needs, by RDP and PLD."""
    try:
        answer = answer_of(
            Question(
                population=population,
                cohort=cohort,
                sampling_rate=sampling_rate,
                rounds=rounds,
                noise_multiplier=noise_multiplier,
                epsilon=epsilon,
                delta=delta,
                extrapolate_population=extrapolate_population,
                extrapolate_cohort=extrapolate_cohort,
                order=order,
            )
        )
    except ValueError as error:
        typer.echo(f"murmur plan: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else _table(answer))


def answer_of(question: Question) -> dict[str, Any]:
    """The answer in plain values, fit for JSON; what is infinite or unknown is None.

    Raises:
        ValueError: for a value out of range, or an epsilon that no noise can meet.
    """
    if question.sampling_rate is not None:
        answer = {**_of_rate(question, question.sampling_rate), "noise_convention": NOISE_CONVENTION}
        return {**answer, **_at_order(question, answer)}
    made = _plan_of(question)
    answer = {**made.describe(), "noise_convention": NOISE_CONVENTION}
    answer |= _at_order(question, answer)
    if question.extrapolate_population is not None and question.extrapolate_cohort is not None:
        there = made.extrapolate(question.extrapolate_population, question.extrapolate_cohort)
        answer["extrapolated"] = there.describe()
    return answer


def _at_order(question: Question, answer: dict[str, Any]) -> dict[str, float]:
    """RDP at the one order that was asked for: what a table made with few orders would print."""
    if question.order is None or not answer["noise_multiplier"]:
        return {}
    from privacy.accounting import Release, rdp_epsilon

    run = Release(
        sampling_rate=answer["sampling_rate"],
        noise_multiplier=answer["noise_multiplier"],
        count=question.rounds,
    )
    value, _ = rdp_epsilon([run], question.delta, (question.order,))
    return {"rdp_at_order": value} if math.isfinite(value) else {}


def _plan_of(question: Question) -> PrivacyPlan:
    from privacy.plan import PrivacyPlan

    scale: dict[str, Any] = {
        "population": question.population,
        "cohort": question.cohort,
        "rounds": question.rounds,
        "delta": question.delta,
    }
    if question.epsilon is not None:
        return PrivacyPlan.calibrate(target_epsilon=question.epsilon, **scale)
    return PrivacyPlan(noise_multiplier=question.noise_multiplier, **scale)


def _of_rate(question: Question, rate: float) -> dict[str, Any]:
    """The answer when only q is known: there is no cohort, so no sigma_DP."""
    from privacy.accounting import Release, epsilon
    from privacy.calibration import calibrate_noise_multiplier
    from privacy.plan import ADJACENCY, SAMPLER, describe_epsilon
    from privacy.validate import whole

    rounds, noise = whole(1, rounds=question.rounds), question.noise_multiplier
    if question.epsilon is not None:
        noise = calibrate_noise_multiplier(
            target_epsilon=question.epsilon, delta=question.delta, sampling_rate=rate, rounds=rounds
        )
    release = Release(sampling_rate=rate, noise_multiplier=noise or 0.0, count=rounds)
    return {
        "population": None,
        "cohort": None,
        "sampling_rate": rate,
        "rounds": question.rounds,
        "noise_multiplier": release.noise_multiplier,
        "sigma_dp": None,
        "delta": question.delta,
        "epsilon_budget": question.epsilon,
        **describe_epsilon(epsilon([release], question.delta)),
        "adjacency": ADJACENCY,
        "sampler": SAMPLER,
    }


def _table(answer: dict[str, Any]) -> str:
    lines = _lines(answer)
    if there := answer.get("extrapolated"):
        lines += ["", "extrapolated: the same sigma_DP at another scale, if training came out the same"]
        lines += _lines(there)
    return "\n".join(lines)


def _lines(answer: dict[str, Any]) -> list[str]:
    bounds = answer["epsilon"]
    scale = f"q = {answer['sampling_rate']:.6g}"
    if answer["cohort"] is not None:
        scale += f"  ({answer['cohort']:g} expected of {answer['population']:,} speakers)"
    rows = [
        (
            "epsilon",
            f"{_number(answer['claim'])}  by {answer['accountant']}, the smaller of two upper bounds",
        ),
        ("  by RDP", f"{_number(bounds['rdp'])}  at order {_number(bounds['order'])}"),
        *([("  RDP as asked", _number(answer["rdp_at_order"]))] if "rdp_at_order" in answer else []),
        ("  by PLD", _number(bounds["pld"])),
        ("delta", f"{answer['delta']:g}"),
        ("noise multiplier", f"z = {answer['noise_multiplier']:.6g}  (std on the sum, in clip bounds C)"),
        ("sigma_DP", _sigma(answer["sigma_dp"])),
        ("sampling rate", scale),
        ("rounds", f"{answer['rounds']:,}"),
        ("sampler", f"{answer['sampler']}: every speaker by an independent coin, each round"),
        ("adjacency", answer["adjacency"]),
    ]
    return [f"{name:<17} {value}" for name, value in rows]


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:,.6g}"


def _sigma(value: float | None) -> str:
    known = "unknown without a cohort" if value is None else f"{value:.6g}"
    return f"{known}  (the paper's: std on the mean, z / S)"
