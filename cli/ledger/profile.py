"""The part of `murmur ledger show` about what a total means, and about the whole privacy profile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privacy import Release

FIXED_PLANS = "each epsilon is for releases whose parameters and number were fixed before the first result"


def meaning(releases: tuple[Release, ...], delta: float, runs: int) -> dict[str, Any]:
    """The least budget of a filter that lets several runs' releases through: None for one run, or none."""
    from privacy.accounting.filters import least_budget

    least = least_budget(releases, delta) if runs > 1 else math.inf
    return {"filter_budget": least if math.isfinite(least) else None}


def profile(releases: tuple[Release, ...], delta: float) -> dict[str, Any]:
    """The profile as JSON can hold it, and as rows; for several devices also if noise was correlated."""
    from privacy.accounting.group_privacy import group_epsilon
    from privacy.accounting.profile import PrivacyProfile

    found = PrivacyProfile.of(releases, delta, independent=True)
    correlated = {
        count: group_epsilon(releases, delta, count, independent=False) for count, _ in found.devices
    }
    plain = {str(count): value if math.isfinite(value) else None for count, value in correlated.items()}
    return {"profile": {**found.describe(), "epsilon_for_devices_with_bands": plain}}


def lines(dataset: dict[str, Any]) -> list[str]:
    """What stands below the total of a data set."""
    return [*_meaning(dataset), *(_rows(dataset["profile"]) if "profile" in dataset else [])]


def _meaning(dataset: dict[str, Any]) -> list[str]:
    if len(dataset["runs"]) == 1:
        return []
    from privacy.display import epsilon_text

    least = dataset["filter_budget"]
    as_filter = (
        f"a filter lets them through at a budget of {epsilon_text(least)}, fixed before the first"
        if least
        else "no budget's filter would have let them through"
    )
    return [
        f"  this total of {len(dataset['runs'])} runs is valid if all their parameters were fixed in "
        f"advance; if later ones were chosen by earlier results, {as_filter}"
    ]


def _rows(found: dict[str, Any]) -> list[str]:
    from privacy.accounting.profile import rounded_up
    from privacy.display import epsilon_text

    def shown(value: float | None) -> str:
        return epsilon_text(math.inf if value is None else value)

    deltas = "; ".join(f"{rounded_up(delta)} at {at}" for at, delta in found["delta_at_epsilon"].items())
    mu, rho = found["gdp_mu"], found["zcdp_rho"]
    with_bands = found["epsilon_for_devices_with_bands"]
    of_devices = [
        f"    epsilon for a person on {count} devices: {shown(value)} ({shown(with_bands[count])} if a run "
        "had privacy.bands above 1)"
        for count, value in found["epsilon_for_devices"].items()
    ]
    return [
        f"    delta at other epsilons: {deltas}",
        f"    GDP mu: {'none is exact with sampling or without noise' if mu is None else rounded_up(mu)}",
        f"    zCDP rho: {rounded_up(math.inf if rho is None else rho)}",
        *of_devices,
    ]
