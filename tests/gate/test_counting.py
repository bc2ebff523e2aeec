"""What budgets count: amounts, periods, scopes, the shares of one action."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate.budgets import PERIODS, SCOPES, UNITS, Budget
from holdfast.gate.counting import (
    SCALE,
    Who,
    cap_of,
    counts,
    marks,
    meter_of,
    shares,
    shown,
    unit_of,
    units,
    used,
)
from holdfast.journal.meters import check_name
from holdfast.values import limits

WHO = Who("agent", "role", "tool", "pay", "run", "run@1", "team", "org")
AT = 1_700_000_000_000  # 2023-11-14T22:13:20Z


@given(st.sampled_from(UNITS), st.floats(0, 1e6))
def test_amounts_are_rounded_up_to_what_meters_count(unit: str, amount: float):
    exact = Decimal(str(amount)) * SCALE[unit]
    assert -Decimal("0.001") <= units(unit, amount) - exact < 1
    assert units(unit, -amount) == 0
    assert units(unit, float("nan")) == 0
    assert units(unit, float("inf")) == limits.CHARGE_MAX_UNITS


def test_sums_of_floats_are_not_rounded_up_for_their_error():
    assert units("money", 0.1 + 0.2) == 300_000
    assert units("money", 0.1 + 0.7) == 800_000
    assert units("tokens", 0.2) == 1


def test_amounts_for_people():
    assert shown("money", 400_000) == "0.40"
    assert shown("money", 1_234_567_891) == "1,234.567891"
    assert shown("money", 0) == "0.00"
    assert shown("tokens", 12_000) == "12,000"
    assert shown("seconds", 1_500) == "1.5"
    assert shown("money", -50_000) == "-0.05"


TEXT = st.text(min_size=1, max_size=300)


@given(TEXT, st.sampled_from(SCOPES), st.sampled_from(PERIODS), st.integers(0, 4 * 10**12))
def test_any_name_makes_a_meter_that_stores_accept(name: str, scope: str, per: str, at: int):
    """INVARIANT E76: the same scope in the same period is the same meter, others are others."""
    budget = Budget("b" * 80, "tokens", 1, scope, per)
    who = Who(name, name, "tool", "t", name, name, name, name)
    other = Who(f"{name}x", name, "tool", "t", f"{name}x", f"{name}x", f"{name}x", f"{name}x")
    meter = meter_of(budget, who, at)
    check_name(meter)
    check_name(used(meter))
    assert unit_of(meter) == "tokens"
    assert meter == meter_of(budget, who, at)
    assert meter != meter_of(budget, other, at)


@pytest.mark.parametrize(
    ("per", "same", "later"),
    [("hour", 2_799_999, 2_800_000), ("day", 6_399_999, 6_400_000),
     ("month", 1_388_799_999, 1_388_800_000)],
)  # fmt: skip
def test_periods_are_the_calendars_in_utc(per: str, same: int, later: int):
    """INVARIANT E76: a period begins with the hour, day or month; going back finds the old one."""
    budget = Budget("b", "money", 1, "agent", per)
    assert meter_of(budget, WHO, AT + same) == meter_of(budget, WHO, AT)
    assert meter_of(budget, WHO, AT + later) != meter_of(budget, WHO, AT)
    ever = Budget("b", "money", 1, "agent")
    assert meter_of(ever, WHO, AT) == meter_of(ever, WHO, 0)


def test_what_a_budget_counts():
    assert counts(Budget("b", "money", 1, "agent"), WHO)
    assert counts(Budget("b", "money", 1, "agent", when={"tool": ("p*",), "role": ("role",)}), WHO)
    assert not counts(Budget("b", "money", 1, "agent", when={"tool": ("p*",), "role": ("x",)}), WHO)
    assert not counts(Budget("b", "runs", 1, "agent"), WHO)
    spawn = Who("agent", "", "spawn", "child", "run", "run")
    assert counts(Budget("b", "runs", 1, "agent"), spawn)
    assert not counts(Budget("b", "calls", 1, "agent"), spawn)
    assert meter_of(Budget("b", "runs", 1, "team"), spawn, AT) == ""  # nobody to count it for


def test_shares_reserve_the_worst_case_and_begin_only_while_something_is_left():
    budgets = [Budget("m", "money", 0.5, "run"), Budget("t", "tokens", 10.9, "agent")]
    money, tokens = shares(budgets, WHO, {"money": 0.2}, AT)
    assert (money.meter, money.amount, money.cap) == ("budget/money/m/run/-/run", 200_000, 500_000)
    assert (tokens.amount, tokens.cap) == (0, 9)


def test_limits_are_rounded_down_and_marks_up():
    assert cap_of(Budget("b", "money", 0.1, "run")) == 100_000
    assert cap_of(Budget("b", "tokens", 9.99, "run")) == 9
    assert marks(Budget("b", "tokens", 10, "run", alert=(0.95, 0.01, 0.5))) == [1, 5, 10]
