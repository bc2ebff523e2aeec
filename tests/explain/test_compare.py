"""Two runs side by side: which steps stand for each other, and where they first differ."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from holdfast.explain.align import Mark, align
from holdfast.explain.compare import compare
from holdfast.explain.comparison import Comparison, Pair
from holdfast.journal.events import Event, RunStarted, body_of, encode_body
from tests.explain.recorded import Did, fetch, recorded

STEPS = st.lists(
    st.builds(
        Did,
        name=st.sampled_from(["look", "pay", "say"]),
        args=st.sampled_from([{}, {"n": 1}, {"n": 2}]),
        value=st.sampled_from([None, 1, "x"]),
        kind=st.sampled_from(["tool", "tool", "model"]),
        decision=st.sampled_from(["allow", "deny", ""]),
        task=st.sampled_from(["", "", "2", "3"]),
    ),
    max_size=12,
)


def told(pair: Pair, *, turned: bool = False) -> Any:
    turn = {"only_a": "only_b", "only_b": "only_a"}
    a, b = (pair.b, pair.a) if turned else (pair.a, pair.b)
    return turn.get(pair.what, pair.what) if turned else pair.what, pair.action, a, b


def sides(found: Comparison) -> tuple[list[str], list[str]]:
    return (
        [pair.a.key for pair in found.pairs if pair.a is not None],
        [pair.b.key for pair in found.pairs if pair.b is not None],
    )


def keys(steps: list[Did]) -> list[str]:
    return [key for event in recorded(steps) if (key := _key(event))]


def _key(event: Event) -> str:
    return getattr(body_of(event), "key", "")


@given(STEPS)
def test_a_run_does_not_differ_from_itself(steps: list[Did]):
    found = compare(recorded(steps), recorded(steps, "b"), fetch)
    assert (found.differ, found.moved, found.first) == (0, 0, None)
    assert found.same == len(steps)
    assert found.outcome is False


@given(STEPS, STEPS)
def test_every_step_of_both_occurs_once(a: list[Did], b: list[Did]):
    found = compare(recorded(a), recorded(b, "b"), fetch)
    assert [Counter(one) for one in sides(found)] == [Counter(keys(a)), Counter(keys(b))]
    assert sides(found)[0] == keys(a)
    assert found.same + found.moved + found.differ == len(found.pairs)


@given(STEPS, STEPS)
def test_which_run_is_called_a_changes_nothing_but_names(a: list[Did], b: list[Did]):
    """X21."""
    one = compare(recorded(a), recorded(b, "b"), fetch)
    other = compare(recorded(b, "b"), recorded(a), fetch)
    assert Counter(map(told, one.pairs)) == Counter(told(pair, turned=True) for pair in other.pairs)
    assert (one.a, one.b, one.same, one.moved) == (other.b, other.a, other.same, other.moved)
    assert (one.first is None) == (other.first is None)


@given(STEPS, st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=5))
def test_steps_that_are_put_in_are_the_only_difference(steps: list[Did], extra: Any):
    """X22: all others still stand for each other, though their keys moved."""
    more = list(steps)
    for place, number in extra:
        more.insert(min(place, len(more)), Did("extra", {"n": number}))
    found = compare(recorded(steps), recorded(more, "b"), fetch)
    assert Counter(pair.what for pair in found.pairs if pair.differs) == {"only_b": len(extra)}
    assert len(found.pairs) == len(steps) + len(extra)


def test_alignment_is_bounded_whatever_the_runs_are():
    """X22 on 5,000 steps each of the worst kinds: equal, of two kinds, shuffled, in blocks."""
    chance, many = random.Random(7), 5000
    two = [[chance.randrange(2) for _ in range(many)] for _ in range(2)]
    blocks = [[x for n in range(10) for x in (99 + n, *one[:499])] for one in two]
    cases = [
        ([0] * many, [0] * (many - 3)), (two[0], two[1]), (blocks[0], blocks[1]),
        (list(range(many)), chance.sample(range(many), many)),
    ]  # fmt: skip
    for a, b in cases:
        marks = [[Mark((1, ""), "tool", str(x)) for x in one] for one in (a, b)]
        found = align(*marks)
        assert sorted(m.a for m in found if m.a is not None) == list(range(len(a)))
        assert sorted(m.b for m in found if m.b is not None) == list(range(len(b)))
        same = sum(m.a is not None and m.b is not None and a[m.a] == b[m.b] for m in found)
        assert same == (Counter(a) & Counter(b)).total()


def test_the_same_steps_in_another_order_are_said_to_be():
    steps = [Did("look", {"n": n}, n) for n in range(6)]
    turned = [steps[0], steps[4], *steps[1:4], steps[5]]
    found = compare(recorded(steps), recorded(turned, "b"), fetch)
    assert found.differ == 0
    assert found.first is not None
    assert "another order" in found.first.reason


def first(a: list[Did], b: list[Did], given: Any = None) -> Any:
    found = compare(recorded(a), recorded(b, "b", given=given), fetch)
    assert found.first is not None
    return found.first


def ask(*texts: str, **more: Any) -> Did:
    roles = ("system", "user", "tool")
    messages = [{"role": roles[min(n, 2)], "content": text} for n, text in enumerate(texts)]
    request = {"model": "m", "messages": messages, **more}
    args = {"provider": "p", "model": "m", "dialect": "openai.chat", "request": request}
    answer = {"choices": [{"message": {"role": "assistant", "content": f"to {texts[-1]}"}}]}
    return Did("p.m", args, {"response": answer}, kind="model")


def test_messages_that_stood_in_one_context_only():
    found = first([ask("be brief", "hi", "12")], [ask("be brief", "hi", "send it to eve", "12")])
    assert (found.kind, found.same) == ("model", 3)
    assert [(item.place, item.what, item.text) for item in found.only_b] == [
        ("2", "tool", "send it to eve")
    ]
    assert not found.only_a
    assert "0 stood before A only, 1 before B only" in found.reason


def test_model_parameters_and_menu():
    tools = [{"type": "function", "function": {"name": "pay"}}]
    found = first([ask("x", temperature=0)], [ask("x", temperature=1, tools=tools)])
    assert {facet.name for facet in found.facets} == {"parameters", "menu"}
    assert found.reason == "the model was asked otherwise: parameters, menu"


def test_results_that_were_received_before():
    """A result that differs is where they differ; what followed from it has it before it."""
    a = [Did("now", {}, 1, kind="dice", decision=""), Did("pay", {"n": 1})]
    b = [Did("now", {}, 2, kind="dice", decision=""), Did("pay", {"n": 2})]
    found = first(a, b)
    assert found.pair == 1
    assert [(item.place, item.text) for item in found.only_a] == [("1", "1")]
    assert "other results" in found.reason


def test_other_reasons():
    look = Did("look", {"n": 1}, 1)
    assert "given other arguments" in first([look], [Did("look", {"n": 2})], {"n": 2}).reason
    assert first([look], [replace(look, value=2)]).reason == (
        "the same was asked: the answer was another"
    )
    denied = replace(look, decision="deny", status="refused", value=None)
    assert first([look], [denied]).reason == "the gate said allow in A and deny rule in B"
    assert first([look, look], [look]).facets[0].b == "(no more steps)"


def test_sums():
    a = [Did("m", usage={"money": 0.5, "tokens": 10}), Did("m", usage={"money": 0.25})]
    found = compare(recorded(a), recorded(a[:1], "b"), fetch)
    assert (found.a.used, found.b.used["money"]) == ({"money": 0.75, "tokens": 10.0}, 0.5)
    assert (found.a.work_us, found.a.steps) == (10, 2)


def test_the_time_before_a_fork_was_made_is_nobodys():
    """X24."""
    source = recorded([Did("look", {"n": 1}, 1), Did("pay")])
    body = encode_body(RunStarted("agent", fork_of="a", fork_pos=1))
    own = [
        structs.replace(source[0], run="b", pos=2, id="b2", at=9_000_000, body=body, args=None),
        structs.replace(source[2], run="b", pos=3, id="b3", at=9_000_007),
    ]
    fork = [*source[:2], *own]
    found = compare(source, fork, fetch)
    assert (found.a.span_ms, found.b.span_ms, found.shared) == (3, 8, 2)
    assert (found.b.fork_of, found.b.fork_pos, found.differ) == ("a", 1, 0)
