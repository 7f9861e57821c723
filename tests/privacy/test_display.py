import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import PrivacyPlan, Release, epsilon_text
from privacy.errors import BudgetExhausted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7.2249, "7.23"),
        (7.2200001, "7.23"),
        (7.22, "7.22"),
        (7.23, "7.23"),  # whose nearest binary number lies above it
        (0.1, "0.1"),
        (0.12345, "0.124"),
        (0.99951, "1"),
        (9.9999, "10"),
        (20.0, "20"),
        (999.5, "1,000"),
        (1234.0, "1,234"),
        (1234.5, "1,235"),
        (99_999.5, "1.0e+05"),
        (3.2e7, "3.2e+07"),
        (3.21e7, "3.3e+07"),
        (1.2345e-5, "1.24e-05"),
        (0.0, "0"),
        (math.inf, "no privacy"),
        (math.nan, "no privacy"),
    ],
)
def test_a_bound_is_rounded_up_and_what_fits_stays(value, text):
    assert epsilon_text(value) == text


def test_more_digits_are_rounded_up_too():
    assert epsilon_text(7.2211951, 6) == "7.2212"
    assert epsilon_text(41937.2, 6) == "41,937.2"
    assert epsilon_text(123456.1, 6) == "1.2346e+05"


@given(st.floats(min_value=0, max_value=1e300), st.integers(3, 6))
def test_what_is_shown_is_never_below_the_truth_nor_far_above(value, digits):
    shown = float(epsilon_text(value, digits).replace(",", ""))
    assert value <= shown <= value * (1 + 10.0 ** (2 - digits)) + 1e-300


@given(st.integers(100, 999), st.integers(-4, 2))
def test_three_digits_stay_as_they_are(digits, exponent):
    value = float(f"{digits}e{exponent - 2}")
    assert float(epsilon_text(value).replace(",", "")) == value


def test_a_spent_budget_is_told_rounded_up():
    plan = PrivacyPlan(
        population=100, cohort=10.0, rounds=9, noise_multiplier=1.0, delta=1e-6, epsilon_budget=1.0
    )
    spent = [Release(sampling_rate=0.1, noise_multiplier=1.0, count=2)]
    would_be = plan.epsilon_of(3).value
    with pytest.raises(BudgetExhausted) as stopped:
        plan.require_budget(spent)
    words = str(stopped.value).split("would make it ")[1].split(". Stop")[0]
    assert would_be <= float(words) <= would_be * 1.001
