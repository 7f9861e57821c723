"""`murmur plan`: what a run would promise, before anyone trains anything."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import REFUSED
from cli.plan import bands as plan_bands

if TYPE_CHECKING:
    from privacy.plan import PrivacyPlan

BANDS_TO_TRY = (1, 4, 8, 16, 32)
AS_PAPERS_DO = (
    ("rdp_at_usual_orders", "  RDP in papers", "opacus' own orders, which are coarser than ours"),
    ("rdp_at_order", "  RDP as asked", "the one order of --order"),
)
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
    bands: str = "1"
    cohort_cap: int = 0

    def __post_init__(self) -> None:
        if self.bands != "auto" and not (self.bands.isascii() and self.bands.isdigit() and int(self.bands)):
            raise ValueError(f"--bands {self.bands}: give a number from 1, or auto")
        by_cohort = self.population is not None and self.cohort is not None
        if by_cohort == (self.sampling_rate is not None) or (self.population is None) != (
            self.cohort is None
        ):
            raise ValueError("give either --population and --cohort, or --sampling-rate")
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise ValueError("give either --noise-multiplier or --epsilon")
        if (self.extrapolate_population is None) != (self.extrapolate_cohort is None):
            raise ValueError("--extrapolate-population and --extrapolate-cohort go together")
        if self.cohort_cap and not by_cohort:
            raise ValueError("for --cohort-cap, give --population and --cohort")
        if self.cohort_cap and (self.bands == "auto" or int(self.bands) > 1):
            raise ValueError(
                f"--cohort-cap {self.cohort_cap} and --bands {self.bands}: a capped cohort out of groups is "
                "not accounted for; leave out one of the two"
            )
        if self.extrapolate_cohort is not None and not by_cohort:
            raise ValueError("to extrapolate, give --population and --cohort: sigma_DP is z / cohort")
        if self.order is not None and not 1 < self.order < math.inf:
            raise ValueError(f"--order must be above 1 and finite, got {self.order!r}")
        if self.order is not None and self.cohort_cap:
            raise ValueError("--order is for plain Poisson sampling: leave out --order or --cohort-cap")


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
    bands: Annotated[
        str,
        typer.Option(help="Correlate noise over this many rounds, and say what that changes; or 'auto'."),
    ] = "1",
    cohort_cap: Annotated[
        int, typer.Option(help="Most speakers in a round (a truncated Poisson sample); 0 for no cap.")
    ] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw epsilon over rounds, and the noise (PDF, SVG, PNG).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compute the epsilon of a run, or the noise that it needs, by RDP and PLD."""
    try:
        question = Question(
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
            bands=bands,
            cohort_cap=cohort_cap,
        )
        if plot is not None:
            _require_drawable(question, plot)
        answer = answer_of(question)
        if plot is not None:
            _draw(answer, plot)
    except (ValueError, OSError) as error:
        typer.echo(f"murmur plan: {error}", err=True)
        raise typer.Exit(REFUSED) from error
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else _table(answer))


def _require_drawable(question: Question, file: Path) -> None:
    from cli.plot.matplotlib_files import pyplot, require_suffix

    require_suffix(file)
    pyplot()
    if question.population is None or question.cohort is None:
        raise ValueError("to --plot, give --population and --cohort: the noise on the mean is z / cohort")


def _draw(answer: dict[str, Any], file: Path) -> None:
    """Draw the plan of an answer, and the extrapolated one if it has it."""
    from cli.plan.plot import draw
    from privacy.plan import PrivacyPlan

    names = ("population", "cohort", "rounds", "noise_multiplier", "delta", "bands", "cohort_cap")
    parts = [answer, *([there] if (there := answer.get("extrapolated")) else [])]
    draw([PrivacyPlan(**{name: part[name] for name in names}) for part in parts], file)


def answer_of(question: Question) -> dict[str, Any]:
    """The answer in plain values, fit for JSON; what is infinite or unknown is None.

    Raises:
        ValueError: for a value out of range, or an epsilon that no noise can meet.
    """
    if question.bands == "auto":
        plain = answer_of(replace(question, bands="1"))
        return {**plain, "bands_comparison": plan_bands.comparison(plain, BANDS_TO_TRY)}
    if question.sampling_rate is not None:
        answer = _of_rate(question, question.sampling_rate)
    else:
        answer = _of_cohort(question)
    answer["noise_convention"] = NOISE_CONVENTION
    answer |= _as_papers_do(question, answer)
    if there := answer.get("extrapolated"):
        there |= _as_papers_do(replace(question, order=None), there)
    if question.bands != "1":
        answer["bands_comparison"] = plan_bands.comparison(answer, (1, int(question.bands)))
    return answer


def _of_cohort(question: Question) -> dict[str, Any]:
    made = _plan_of(question)
    answer: dict[str, Any] = made.describe()
    if question.extrapolate_population is not None and question.extrapolate_cohort is not None:
        there = made.extrapolate(question.extrapolate_population, question.extrapolate_cohort)
        answer["extrapolated"] = there.describe()
    return answer


def _as_papers_do(question: Question, answer: dict[str, Any]) -> dict[str, float]:
    """RDP at opacus' own orders, and at the one order that was asked for: what tables made so would print."""
    if not answer["noise_multiplier"]:
        return {}
    from privacy.accounting.epsilon import USUAL_ORDERS, Release, rdp_epsilon

    cap = answer["cohort_cap"]
    run = Release(
        sampling_rate=answer["bands"] * answer["sampling_rate"],
        noise_multiplier=answer["noise_multiplier"],
        count=-(-question.rounds // answer["bands"]),
        cohort_cap=cap,
        population=answer["population"] if cap else 0,
    )
    orders = {"rdp_at_usual_orders": USUAL_ORDERS}
    if question.order is not None:
        orders["rdp_at_order"] = (question.order,)
    values = {name: rdp_epsilon([run], question.delta, some)[0] for name, some in orders.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _plan_of(question: Question) -> PrivacyPlan:
    from privacy.plan import PrivacyPlan

    scale: dict[str, Any] = {
        "population": question.population,
        "cohort": question.cohort,
        "rounds": question.rounds,
        "delta": question.delta,
        "bands": int(question.bands),
        "cohort_cap": question.cohort_cap,
    }
    if question.epsilon is not None:
        return PrivacyPlan.calibrate(target_epsilon=question.epsilon, **scale)
    scale["noise_multiplier"] = question.noise_multiplier
    return PrivacyPlan(**scale)


def _of_rate(question: Question, rate: float) -> dict[str, Any]:
    """The answer when only q is known: there is no cohort, so no sigma_DP."""
    from privacy.accounting.calibration import calibrate_noise_multiplier
    from privacy.accounting.epsilon import Release, epsilon
    from privacy.plan import adjacency_of, describe_epsilon, sampler_of
    from privacy.validate import whole

    rounds, noise = whole(1, rounds=question.rounds), question.noise_multiplier
    bands, group_rate = int(question.bands), int(question.bands) * rate
    if rate <= 1 < group_rate:
        raise ValueError(
            f"--bands {bands}: each round draws from one of so many groups, whose speakers would be drawn "
            f"with {bands} x --sampling-rate {rate:g}, which is above 1; use at most {int(1 / rate)} bands"
        )
    releases = -(-rounds // bands)
    if question.epsilon is not None:
        noise = calibrate_noise_multiplier(
            target_epsilon=question.epsilon, delta=question.delta, sampling_rate=group_rate, rounds=releases
        )
    release = Release(sampling_rate=group_rate, noise_multiplier=noise or 0.0, count=releases)
    return {
        "population": None,
        "cohort": None,
        "sampling_rate": rate,
        "rounds": question.rounds,
        "bands": bands,
        "cohort_cap": 0,
        "noise_source": "secure",
        "privacy": "see ledger.jsonl" if release.noise_multiplier else "none",
        "noise_multiplier": release.noise_multiplier,
        "sigma_dp": None,
        "delta": question.delta,
        "epsilon_budget": question.epsilon,
        **describe_epsilon(epsilon([release], question.delta)),
        "adjacency": adjacency_of(bands),
        "sampler": sampler_of(bands),
    }


def _table(answer: dict[str, Any]) -> str:
    lines = _lines(answer)
    if compared := answer.get("bands_comparison"):
        lines += ["", *plan_bands.lines(compared)]
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
            f"{_bound(answer['claim'])}  by {answer['accountant']}, the smaller of two upper bounds",
        ),
        ("  by RDP", f"{_bound(bounds['rdp'])}  at order {_number(bounds['order'])}"),
        *(
            (label, f"{_bound(answer[name])}  at {orders}")
            for name, label, orders in AS_PAPERS_DO
            if name in answer
        ),
        ("  by PLD", _bound(bounds["pld"])),
        ("delta", f"{answer['delta']:g}"),
        ("noise multiplier", f"z = {answer['noise_multiplier']:.6g}  (std on the sum, in clip bounds C)"),
        ("sigma_DP", _sigma(answer["sigma_dp"])),
        ("sampling rate", scale),
        ("rounds", f"{answer['rounds']:,}"),
        ("sampler", f"{answer['sampler']}, every speaker by an independent coin"),
        ("adjacency", answer["adjacency"]),
    ]
    return [f"{name:<17} {value}" for name, value in rows]


def _bound(value: float | None) -> str:
    from privacy.display import epsilon_text

    return "infinite" if value is None else epsilon_text(value, 6)


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:,.6g}"


def _sigma(value: float | None) -> str:
    known = "unknown without a cohort" if value is None else f"{value:.6g}"
    return f"{known}  (the paper's: std on the mean, z / S)"
