import itertools

import pytest

from strategies.schedules import SCHEDULES


def test_half_cosine_is_flat_then_falls_to_a_twentieth():
    factors = [SCHEDULES["half-cosine"](r, 100) for r in range(1, 101)]
    assert factors[:51] == [1.0] * 51
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[50:]))
    assert factors[-1] == pytest.approx(0.05, abs=0.01)


def test_constant_is_one():
    assert {SCHEDULES["constant"](r, 7) for r in range(1, 8)} == {1.0}
