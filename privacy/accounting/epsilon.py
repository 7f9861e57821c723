"""From releases to epsilon: two independent upper bounds; the claim is the smaller one.

A `Release` is Gaussian noise on a Poisson-sampled sum. The noise multiplier z is always the standard
deviation of the noise *on the sum* in units of the clip bound C. The adjacency is zero-out (equally,
add-or-remove) of one speaker. For this adjacency both accountants are exact about the sampling:

* RDP: opacus' Renyi moments at our own list of orders, converted by Balle et al. 2020, Theorem 21. It
  reproduces the paper, takes milliseconds, and adds up over rounds.
* PLD: dp_accounting's privacy loss distributions, pessimistic at every discretisation interval: a coarser
  interval is faster and claims more epsilon, never less. The rounding of its Fourier transforms would claim
  too little at a tiny delta (12.137 for 12.163 at 1e-14), so a part of delta of that size is set aside.

Do not use opacus' GaussianAccountant here: it is a central limit approximation, up to 60 times too low.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from privacy.accounting.pld import pld_epsilon
from privacy.accounting.releases import MAX_NOISE_MULTIPLIER, MIN_NOISE_MULTIPLIER, Release, merge
from privacy.accounting.renyi import COARSE_ORDERS, ORDERS, USUAL_ORDERS, rdp_epsilon

__all__ = [
    "COARSE_ORDERS",
    "MAX_NOISE_MULTIPLIER",
    "MIN_NOISE_MULTIPLIER",
    "ORDERS",
    "USUAL_ORDERS",
    "Epsilon",
    "Release",
    "epsilon",
    "merge",
    "pld_epsilon",
    "rdp_epsilon",
]


@dataclass(frozen=True, kw_only=True)
class Epsilon:
    """Upper bounds on epsilon at one delta.

    Args:
        rdp: the bound by RDP.
        order: the Renyi order of that bound.
        pld: the bound by PLD; None if it was not computed.

    Example:
        >>> bounds = Epsilon(rdp=7.21, order=3.4, pld=6.95)
        >>> bounds.value, bounds.accountant
        (6.95, 'PLD')
    """

    rdp: float
    order: float
    pld: float | None = None

    @property
    def value(self) -> float:
        """The claim: the smaller of the valid bounds."""
        return self.rdp if self.pld is None else min(self.rdp, self.pld)

    @property
    def accountant(self) -> str:
        """The name of the bound that is the claim."""
        return "RDP" if self.pld is None or self.rdp <= self.pld else "PLD"


def epsilon(releases: Iterable[Release], delta: float, pld: bool = True) -> Epsilon:
    """Epsilon of all releases together, by RDP and, with ``pld``, by PLD.

    Example:
        >>> one = Release(sampling_rate=1.0, noise_multiplier=2.0)
        >>> round(epsilon([one], delta=1e-5, pld=False).value, 3)
        2.166
    """
    merged = merge(releases)
    rdp, order = rdp_epsilon(merged, delta)
    return Epsilon(rdp=rdp, order=order, pld=pld_epsilon(merged, delta) if pld else None)
