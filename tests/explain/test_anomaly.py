"""Anomalies as a fold: the same however it is delivered, within its quota, and worth reading."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.explain.alarm import Alarm
from holdfast.explain.anomaly import PARTS, Budget, State, fold, no_state
from holdfast.explain.quota import day_of
from holdfast.journal.events import (
    NO_HEAD,
    Body,
    Draft,
    Event,
    FindingAdded,
    Head,
    Plan,
    RunEnded,
    RunStarted,
    StepSettled,
    Verdict,
    seal,
)
from holdfast.testing.days import PLANTED, SHOWN_BY, Days
from holdfast.values import limits
from holdfast.values.canon import encode


def lived(seed: int, days: int, runs: int, plant: tuple[str, ...] = ()) -> Days:
    found = Days(seed)
    for _ in range(days):
        found.live(runs)
    for _ in range(2 if plant else 0):
        found.live(runs, plant)
    return found


SMALL = lived(7, 6, 10, PLANTED)
BIG = lived(3, 15, 50, PLANTED)


class Book:
    """A journal that a test writes."""

    def __init__(self) -> None:
        self.state = no_state(Budget(1000, 1000))
        self.seq = 0
        self.at = 20_000 * 86_400_000
        self._heads: dict[str, Head] = {}

    def add(self, run: str, body: Body, value: Any = None, args: Any = None) -> list[Alarm]:
        """One more event, a second after the one before."""
        self.seq += 1
        self.at += 1_000
        given, found = (None if one is None else encode(one) for one in (args, value))
        draft = Draft(body, self.at, args=given, value=found)
        event = seal(draft, run, self._heads.get(run, NO_HEAD), self.seq)
        self._heads[run] = Head(event.pos, event.id, "")
        return fold(self.state, [event])

    def live(
        self, run: str, tools: list[str], agent: str = "a", role: str = "", to: str = "old"
    ) -> list[Alarm]:
        """A whole run that calls these tools."""
        alarms = self.add(run, RunStarted(agent, role=role), args={})
        for number, tool in enumerate(tools):
            alarms += self.call(run, str(number), tool, to=to)
        return alarms + self.add(run, RunEnded("done"))

    def call(
        self, run: str, key: str, tool: str, *, to: str = "old", value: Any = None, **more: Any
    ) -> list[Alarm]:
        effect = "once" if tool == "send" else "read"
        fields: dict[str, Any] = {"took": 1000, **more}
        body = StepSettled(key, Plan(tool, "tool", effect), **fields)
        value = f"{run} {key}" if value is None else value
        return self.add(run, body, value, {"to": to} if tool == "send" else {"of": tool})


USUAL = ["look", "think", "look", "send", "think", "send"]


def grown(runs: int = 40, agent: str = "a", role: str = "") -> Book:
    book = Book()
    for number in range(runs):
        book.live(f"{agent}{number}", USUAL, agent, role)
    return book


def names(alarms: list[Alarm]) -> set[str]:
    return {part.name for alarm in alarms for part in alarm.parts}


# Deterministic ---------------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(0, len(SMALL.events)), max_size=6), kept=st.booleans())
@settings(max_examples=12, deadline=None)
def test_the_same_in_any_pieces_and_from_any_cache(cuts: list[int], kept: bool):
    # INVARIANT X61
    whole = no_state()
    expected = fold(whole, SMALL.events)
    state = no_state()
    found: list[Alarm] = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(SMALL.events)], strict=True):
        found += fold(state, SMALL.events[start:stop])
        if kept:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)
    assert found == expected
    assert found
    assert state == whole


@given(
    a_day=st.integers(0, 6), of_agent=st.integers(0, 4), seed=st.integers(0, 2**16),
)  # fmt: skip
@settings(max_examples=8, deadline=None)
def test_no_day_has_more_alarms_than_its_number(a_day: int, of_agent: int, seed: int):
    # INVARIANT X60
    days = Days(seed)
    for _ in range(3):
        days.live(8)
    days.live(8, PLANTED * 3)
    alarms = fold(no_state(Budget(a_day, of_agent)), days.events)
    assert max(Counter(day_of(one.at) for one in alarms).values(), default=0) <= a_day
    of = Counter((day_of(one.at), one.agent) for one in alarms)
    assert max(of.values(), default=0) <= of_agent
    for alarm in alarms:
        assert 0 <= alarm.score <= 1
        assert alarm.parts == tuple(sorted(alarm.parts, key=lambda part: part.rank))
        assert {part.name for part in alarm.parts} <= set(PARTS)


def test_what_is_planted_is_found_and_clean_days_are_quiet():
    alarms = fold(no_state(), BIG.events)
    by_run: defaultdict[str, set[str]] = defaultdict(set)
    for alarm in alarms:
        by_run[alarm.run] |= {part.name for part in alarm.parts}
    named = {run for run, kind in BIG.planted.items() if by_run[run] & SHOWN_BY[kind]}
    kinds = {BIG.planted[run] for run in named}
    assert len(named) >= 8  # of 12
    assert {"loop", "sink"} <= kinds
    false = [one for one in alarms if one.run not in BIG.planted]
    assert len(false) / BIG.day < limits.ANOMALY_A_DAY_ITEMS / 2


# A new agent -----------------------------------------------------------------------------------


def test_a_new_agent_is_not_compared_with_itself():
    book = Book()
    alarms: list[Alarm] = []
    for number in range(limits.ANOMALY_COLD_RUNS):
        alarms += book.live(
            f"r{number}", [f"tool{number}", f"other{number}", "send"], to=f"t{number}"
        )
    assert not alarms


def test_plain_rules_hold_for_a_new_agent():
    book = Book()
    book.add("r", RunStarted("a"))
    found: list[Alarm] = []
    for number in range(limits.ANOMALY_LOOP_STEPS + 2):
        found += book.call("r", str(number), "look", value="same")
    (alarm,) = found
    assert (alarm.place, alarm.parts[0].name) == (f"r@{limits.ANOMALY_LOOP_STEPS - 1}", "loop")
    assert "5 times in a row" in alarm.sentence
    leak = Verdict("allow", facts={"leaks": True, "groups": ["flow"]})
    assert names(book.call("r", "99", "send", verdict=leak)) == {"leak"}
    book.at -= 1_000 * limits.ANOMALY_BURST_STEPS  # as if all of these came at once
    fast = Book()
    fast.add("r", RunStarted("a"))
    for number in range(limits.ANOMALY_BURST_STEPS + 60):
        fast.at -= 999
        found += fast.call("r", str(number), "look")
    assert "burst" in names(found)


def test_cycles_are_loops_too():
    book = Book()
    book.add("r", RunStarted("a"))
    found: list[Alarm] = []
    for number in range(20):
        tool = ("look", "think", "read")[number % 3]
        found += book.call("r", str(number), tool, value=tool)
    assert names(found) == {"loop"}


def test_an_agent_is_compared_with_others_of_its_role_at_first():
    book = grown(role="clerk")
    book.add("new", RunStarted("novice", role="clerk"))
    found = book.call("new", "1", "send", to="stranger")
    assert "sink" in names(found)
    book.add("other", RunStarted("outsider", role="baker"))
    assert not book.call("other", "1", "send", to="stranger")


# What a person says ----------------------------------------------------------------------------


def judged(book: Book, alarm: Alarm, verdict: str) -> None:
    book.add(alarm.run, FindingAdded(alarm.pos, "anomaly.judged", "ann"), {"verdict": verdict})


def test_a_new_target_stays_new_until_it_is_judged_or_known():
    book = grown()
    seen = [names(book.live(f"n{number}", USUAL, to="stranger")) for number in range(12)]
    assert "sink" in seen[0]
    assert "sink" in seen[1]
    assert "sink" not in seen[-1]


def test_normal_is_learned():
    # INVARIANT X62
    book = grown()
    (alarm,) = [one for one in book.live("n", USUAL, to="stranger") if "sink" in names([one])]
    judged(book, alarm, "normal")
    assert book.state.alarms[f"n#{alarm.pos}"].alarm.judged == "normal"
    assert book.state.alarms[f"n#{alarm.pos}"].alarm.by == "ann"
    for number in range(3):
        assert "sink" not in names(book.live(f"m{number}", USUAL, to="stranger"))
    assert "sink" in names(book.live("x", USUAL, to="somebody else"))


def test_bad_always_raises_an_alarm_again():
    book = grown()
    (alarm,) = [one for one in book.live("n", USUAL, to="stranger") if "sink" in names([one])]
    judged(book, alarm, "bad")
    for number in range(15):
        (again,) = [
            one for one in book.live(f"m{number}", USUAL, to="stranger") if "sink" in names([one])
        ]
        assert "called bad before" in again.sentence
    judged(book, alarm, "normal")  # they changed their mind
    assert "sink" not in names(book.live("last", USUAL, to="stranger"))


@pytest.mark.parametrize(
    ("usual", "odd", "part"),
    [
        ({"usage": {"money": 0.01}}, {"usage": {"money": 0.05}}, "cost"),
        ({"usage": {"tokens": 900.0}}, {"usage": {"tokens": 90_000.0}}, "tokens"),
        ({"took": 50_000}, {"took": 60_000_000}, "latency"),
    ],
)
def test_amounts_are_compared_with_those_of_the_same_tool(usual: Any, odd: Any, part: str):
    book = Book()
    for run in range(30):
        book.add(f"r{run}", RunStarted("a"))
        for key in range(5):
            book.call(f"r{run}", str(key), "think", **usual)
            book.call(
                f"r{run}", f"x{key}", "look", took=90_000_000, usage={"money": 9.0, "tokens": 1e6}
            )
        book.add(f"r{run}", RunEnded("done"))
    book.add("odd", RunStarted("a"))
    assert not book.call("odd", "1", "think", **usual)
    book.call("odd", "2", "look", took=90_000_000, usage={"money": 9.0, "tokens": 1e6})
    (alarm,) = book.call("odd", "3", "think", **odd)
    assert alarm.parts[0].name == part
    assert alarm.parts[0].value > 4 * alarm.parts[0].baseline > 0
    assert "think" in alarm.parts[0].sentence


def test_a_broken_prefix_is_part_of_the_model_call_behind_it():
    book = Book()
    model = Plan("model.x", "model")
    for run in range(40):
        book.add(f"r{run}", RunStarted("a"))
        for key in range(4):
            book.add(f"r{run}", StepSettled(str(key), model, took=9))
        book.add(f"r{run}", RunEnded("done"))
    book.add("r", RunStarted("a"))
    book.add("r", StepSettled("1", model, took=9))
    book.add("r", FindingAdded(1, "model.prefix", "door:model"), {"at": 0, "of": 3, "size": 90_000})
    (alarm,) = book.add("r", StepSettled("2", model, took=9))
    assert alarm.parts[0].name == "prefix"
    assert alarm.parts[0].value == 90


def test_what_holds_and_what_is_holdfasts_own_is_not_looked_at():
    book = grown()
    before = msgspec.msgpack.encode((book.state.agents, book.state.roles, book.state.tools))
    for run, body in (
        ("held", RunStarted("a", fork_of="a1", fork_pos=2, holds=True)),
        ("holdfast.audit", RunStarted("holdfast.audit")),
        ("t", RunStarted("thread")),
    ):
        book.add(run, body)
        assert not book.call(run, "9", "send", to="stranger")
    after = msgspec.msgpack.encode((book.state.agents, book.state.roles, book.state.tools))
    assert before == after


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    for name, most in {
        "ANOMALY_AGENTS_ITEMS": 3, "ANOMALY_OPEN_RUNS": 4, "ANOMALY_SYMBOLS_ITEMS": 8,
        "ANOMALY_CONTEXTS_ITEMS": 16, "ANOMALY_THINGS_ITEMS": 5, "ANOMALY_SCALES_ITEMS": 6,
        "ANOMALY_ALARMS_ITEMS": 3, "ANOMALY_SCALE_ITEMS": 8, "ANOMALY_HISTORY_ITEMS": 64,
    }.items():  # fmt: skip
        monkeypatch.setattr(limits, name, most)
    book = Book()
    for run in range(150):
        tools = [f"tool{(run * 7 + n) % 40}" for n in range(6)] + ["send"]
        book.add(f"open{run}", RunStarted(f"agent{run % 5}"))
        book.live(f"r{run}", tools, f"agent{run % 5}", "role", to=f"to{run}")
    state = book.state
    assert len(state.agents) <= 3
    assert len(state.runs) <= 4
    assert len(state.alarms) <= 3
    assert len(state.tools) <= 6
    for base in [*(one.base for one in state.agents.values()), *state.roles.values()]:
        assert len(base.grams.names) < 8
        assert len(base.grams.three) <= 17
        assert all(len(one.things) <= 5 for one in base.known.values())
        assert len(base.scales) <= 6
        assert all(len(one.recent) <= 8 for one in base.scales.values())
        assert all(one.n <= 130 for one in base.ranks.values())


def test_odd_findings_change_nothing():
    book = grown()
    events: list[tuple[str, Any]] = [
        ("anomaly.judged", {"verdict": 3}),
        ("anomaly.judged", ["normal"]),
        ("anomaly.judged", None),
        ("anomaly", {"score": "x"}),
        ("model.prefix", {"size": "big"}),
        ("model.prefix", 7),
    ]
    book.add("r", RunStarted("a"))
    for type_, value in events:
        assert book.add("r", FindingAdded(0, type_, "x"), value) == []


def test_events_of_runs_that_began_before_are_passed_over():
    event: Event = SMALL.events[5]
    assert fold(no_state(), [event]) == []
