"""One line per check: ``positive(delta=delta)`` returns the value, or names the expected and the given value.

Every number is checked here before it reaches an accountant, because the accountants are not robust: with a
noise multiplier of NaN, infinity or 1e-160 opacus never returns.
"""

import math


def finite(**named: float) -> float:
    """Return the one named value as a float; refuse NaN, infinity and what is not a number."""
    ((name, value),) = named.items()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"Expected {name} to be a finite number, got {name}={value!r}.")
    return float(value)


def positive(**named: float) -> float:
    """Return the one named value; refuse what is not finite and above zero."""
    ((name, value),) = named.items()
    if finite(**named) <= 0:
        raise ValueError(f"Expected {name} > 0, got {name}={value!r}.")
    return float(value)


def probability(**named: float) -> float:
    """Return the one named value; refuse what lies outside [0, 1]."""
    ((name, value),) = named.items()
    if not 0 <= finite(**named) <= 1:
        raise ValueError(f"Expected 0 <= {name} <= 1, got {name}={value!r}.")
    return float(value)


def open_probability(**named: float) -> float:
    """Return the one named value; refuse what lies outside the open interval (0, 1)."""
    ((name, value),) = named.items()
    if not 0 < finite(**named) < 1:
        raise ValueError(f"Expected 0 < {name} < 1, got {name}={value!r}.")
    return float(value)


def whole(minimum: int = 0, **named: int) -> int:
    """Return the one named value; refuse what is not an integer or is below ``minimum``."""
    ((name, value),) = named.items()
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"Expected {name} to be an integer >= {minimum}, got {name}={value!r}.")
    return value
