"""How an epsilon is shown: rounded up, because a bound that is rounded to nearest may be too small.

Guarantee (`epsilon_text`): the number in the text is never below the number that was given. A number that
fits in the digits is shown as it is: 7.22 stays 7.22, and 7.2249 becomes 7.23.
"""

import math
from decimal import ROUND_CEILING, Decimal

_PLAIN_BELOW = Decimal(100_000)  # larger ones have an exponent
NO_PRIVACY = "no privacy"


def delta_promises(delta: float, population: int) -> bool:
    """Whether an epsilon at this delta says anything for a population: delta is below 1 / population.

    A mechanism that publishes one of N speakers, drawn at random, has epsilon 0 at delta = 1 / N.

    Example:
        >>> delta_promises(1e-7, 1_000_000), delta_promises(1e-3, 1_000_000)
        (True, False)
    """
    return delta * population < 1


def epsilon_text(value: float, digits: int = 3) -> str:
    """An epsilon in `digits` significant digits, rounded up: 0.124, 7.23, 1,235, 3.3e+07, "no privacy".

    Below 100,000 all digits before the point are shown. From there on there is one digit fewer, and an
    exponent. An infinite epsilon is "no privacy".

    Example:
        >>> [epsilon_text(value) for value in (7.2249, 1234.2, 3.21e7, float("inf"))]
        ['7.23', '1,235', '3.3e+07', 'no privacy']
    """
    if not value < math.inf:
        return NO_PRIVACY
    exact = Decimal(repr(float(value)))  # the shortest decimal that reads back as this float
    up = _round_up(exact, max(digits, exact.adjusted() + 1))
    if up < _PLAIN_BELOW:
        return f"{up:,f}" if up >= 1 else f"{float(up):.{digits}g}"
    up = _round_up(exact, digits - 1)
    return f"{float(up):.{digits - 2}e}"


def _round_up(value: Decimal, digits: int) -> Decimal:
    """The least decimal with `digits` significant digits that is not below `value`, which is not negative."""
    if not value:
        return Decimal(0)
    step = Decimal(1).scaleb(value.adjusted() + 1 - digits)
    up = (value / step).to_integral_value(ROUND_CEILING) * step
    return up.normalize()
