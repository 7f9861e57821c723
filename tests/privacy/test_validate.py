"""Each check lets its range pass and names what it refuses."""

import math
from collections.abc import Callable

import pytest

from privacy.validate import finite, open_probability, positive, probability, whole


@pytest.mark.parametrize(
    ("check", "passes", "refused"),
    [
        (finite, (0, -1.5, 1e300), (math.nan, math.inf, -math.inf, "1", None, True)),
        (positive, (1e-300, 3), (0, -1, math.nan, math.inf)),
        (probability, (0, 1, 0.5), (-1e-9, 1.0000001, math.nan)),
        (open_probability, (1e-12, 0.5), (0, 1, math.nan)),
        (whole, (0, 7), (-1, 1.0, True, math.nan)),
    ],
)
def test_range_is_enforced(
    check: Callable[..., float], passes: tuple[float, ...], refused: tuple[object, ...]
) -> None:
    for value in passes:
        assert check(some_name=value) == value
    for bad in refused:
        with pytest.raises(ValueError, match="some_name"):
            check(some_name=bad)
