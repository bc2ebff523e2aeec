"""Risk never falls when a sign is added, and is learned only from what persons said."""

from __future__ import annotations

import math
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate.facts import NO_FACTS, ORIGINS, Facts
from holdfast.gate.fit import Example, fit, predict, quality, split
from holdfast.gate.labels import CONFIDENTIALITY, INTEGRITY
from holdfast.gate.proposal import EFFECTS, Proposal
from holdfast.gate.risk import FEATURES, PRIOR, RiskTable, assess, concern, features, sampled

COUNT = st.integers(0, 10**6)
FACTS = st.builds(
    Facts,
    calls_last_minute=COUNT, denials=COUNT, uses=COUNT, new_target=st.booleans(),
    amount_z=st.floats(-1e6, 1e6), approved=COUNT, approved_like=COUNT, refused_like=COUNT,
    schema_changed=st.booleans(), integrity=st.sampled_from(INTEGRITY),
    worst=st.sampled_from(("", *ORIGINS)), grounded=st.floats(0, 1), asked=st.booleans(),
    carries=st.sampled_from(CONFIDENTIALITY), leaks=st.booleans(), new_links=COUNT,
    secrets=COUNT, pending=st.booleans(), harm=st.floats(0, 1e9),
)  # fmt: skip
WORSE = {
    "denials": lambda n: n + 1, "calls_last_minute": lambda n: n + 1, "new_target": lambda _: True,
    "amount_z": lambda z: z + 1, "refused_like": lambda n: n + 1, "schema_changed": lambda _: True,
    "integrity": lambda _: "untrusted", "worst": lambda _: "untrusted",
    "grounded": lambda share: share / 2, "asked": lambda _: False, "leaks": lambda _: True,
    "new_links": lambda n: n + 1, "secrets": lambda n: n + 1, "pending": lambda _: True,
    "approved": lambda n: n // 2, "uses": lambda n: n // 2, "harm": lambda h: h * 2,
}  # fmt: skip
WEIGHTS = st.dictionaries(st.sampled_from(sorted(PRIOR)), st.floats(0, 10))
TABLES = st.builds(RiskTable, base=st.floats(-10, 5), weights=WEIGHTS, review=st.floats(0.01, 100))


def asked(effect: str = "once") -> Proposal:
    return Proposal("a", "", "tool", "t", effect, {})


@given(FACTS, st.sampled_from(EFFECTS), st.sampled_from(sorted(WORSE)), TABLES)
def test_one_more_sign_never_lowers_the_risk(
    facts: Facts, effect: str, name: str, table: RiskTable
):
    """G30"""
    worse = msgspec.structs.replace(facts, **{name: WORSE[name](getattr(facts, name))})
    before, after = assess(facts, asked(effect), table), assess(worse, asked(effect), table)
    assert 0 <= before.p <= 1
    assert after.p >= before.p
    if facts.harm or name != "harm":
        assert after.loss >= before.loss
    assert all(value >= 0 for part, value in after.parts.items() if part != "base")


@given(FACTS, st.sampled_from(EFFECTS), TABLES)
def test_the_parts_are_the_whole(facts: Facts, effect: str, table: RiskTable):
    risk = assess(facts, asked(effect), table)
    logit = sum(risk.parts.values())
    assert math.isclose(risk.p, 1 / (1 + math.exp(-min(logit, 700))), abs_tol=0.02)
    assert (concern(risk, table) == "") == (risk.loss <= table.review)  # G31


def test_ordinary_calls_are_left_alone_and_bad_signs_are_not():
    table = RiskTable()
    calm = Facts(worst="person", asked=True, uses=40, target_uses=12, approved=6)
    assert concern(assess(calm, asked(), table), table) == ""
    first = Facts(worst="person", asked=True, new_target=True)
    assert concern(assess(first, asked(), table), table) == ""
    for effect in ("read", "world"):
        assert concern(assess(NO_FACTS, asked(effect), table), table) == ""
    bad = Facts(worst="untrusted", grounded=0.0, integrity="untrusted", new_target=True)
    risk = assess(bad, asked(), table)
    assert risk.p > 0.5
    said = concern(risk, table)
    assert "untrusted +2.00" in said
    assert "expected loss" in said


def test_nan_is_certain_refusal():
    risk = assess(NO_FACTS, asked(), RiskTable(base=math.nan))
    assert risk.p == 1.0


def test_every_feature_has_a_weight_and_a_share_is_a_share():
    assert FEATURES.keys() == PRIOR.keys()
    table = RiskTable(sample=0.1)
    share = sum(sampled(str(number), table.sample) for number in range(20_000)) / 20_000
    assert 0.08 < share < 0.12
    assert not any(sampled(str(number), RiskTable().sample) for number in range(100))


def examples(count: int, seed: int, truth: dict[str, float], base: float) -> list[Example]:
    dice = random.Random(seed)
    found: list[Example] = []
    for number in range(count):
        signs = {name: 1.0 for name in truth if dice.random() < 0.4}
        logit = base + sum(truth[name] for name in signs)
        refused = float(dice.random() < 1 / (1 + math.exp(-logit)))
        found.append(Example(signs, "once", f"t{number % 3}", "a", refused, 1.0, f"r{number}"))
    return found


def test_a_fit_finds_what_persons_go_by_and_says_how_well():
    """Known weights, drawn at random: learned ones are near, and better on what was held out."""
    truth = {"untrusted": 4.0, "new_target": 0.0, "leaking": 3.0, "unasked": 1.0}
    data = examples(3000, 7, truth, -3.0)
    found = fit(data, RiskTable())
    for name, weight in truth.items():
        assert abs(found.table.weights.get(name, PRIOR[name]) - weight) < 0.5, name
        assert found.spread[name] < 0.4
    assert found.after.loss < found.before.loss
    assert found.after.auc > 0.8
    assert found.after.ece < 0.06
    assert found.after.examples == len(split(data)[1])


def test_little_said_little_learned():
    few = examples(6, 3, {"untrusted": 4.0}, -3.0)
    found = fit(few, RiskTable())
    assert abs(found.table.weights.get("untrusted", PRIOR["untrusted"]) - 2.0) < 1.0
    assert all(abs(value) < 0.8 for value in found.table.offsets.values())


def test_what_no_example_speaks_of_stays_and_the_rest_starts_from_what_is_in_force():
    """G61"""
    table = RiskTable(weights={"credentials": 9.0, "tainted": 3.0},
                      offsets={"tool:wire": 4.0, "tool:mail": 2.0})  # fmt: skip
    data = [Example({"tainted": 1.0}, "once", "mail", "a", float(n % 2), 1.0, f"r{n}")
            for n in range(60)]  # fmt: skip
    found = fit(data, table).table
    assert found.weights["credentials"] == 9.0
    assert found.offsets["tool:wire"] == 4.0
    assert found.offsets["tool:mail"] > 1.0
    one = data[:1]  # nothing is learned from it if it is held out, and little if it is not
    assert abs(fit(one, table).table.offsets["tool:mail"] - 2.0) < 0.3
    assert fit([], table).table == table


@given(st.integers(0, 2**32), st.floats(-4, 4))
def test_no_weight_turns_negative(seed: int, weight: float):
    """G33: also if persons approve just what looks bad."""
    data = examples(60, seed, {"untrusted": weight, "leaking": -weight}, 0.0)
    table = fit(data, RiskTable()).table
    assert all(value >= 0 for value in table.weights.values())


def test_a_fit_is_the_same_whatever_the_order_of_sweeps_and_the_units_of_weight():
    data = examples(300, 11, {"untrusted": 2.0, "links": 1.0}, -1.0)
    found = fit(data, RiskTable()).table
    doubled = [msgspec.structs.replace(one, weight=0.5) for one in data for _ in range(2)]
    again = fit(doubled, RiskTable()).table
    for one in data[:20]:
        assert math.isclose(predict(one, found), predict(one, again), abs_tol=0.01)


def test_quality_of_known_probabilities():
    base = math.log(0.25 / 0.75)
    rows = [Example({}, "read", "t", "a", float(n % 4 == 0), 1.0, str(n)) for n in range(400)]
    found = quality(rows, RiskTable(base=base))
    assert found.auc == 0.5
    assert found.ece < 1e-6
    assert math.isclose(found.brier, 0.1875, abs_tol=1e-3)
    assert features(NO_FACTS, asked("read"), RiskTable()) == {"unproven": 1.0}
