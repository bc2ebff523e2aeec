"""Who may answer, and when answers are enough."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.history import History
from holdfast.gate.approvers import resolve
from holdfast.gate.routes import Route
from holdfast.journal.events import (
    NO_HEAD,
    ApprovalAsked,
    ApprovalGiven,
    Draft,
    Panel,
    RunStarted,
    seal,
)
from holdfast.journal.quorum import may, met, missing, people, seated
from holdfast.journal.views import fold_run

NAMES = st.sampled_from(["ann", "bea", "cem", "dan", "eve"])
PANELS = st.lists(
    st.builds(
        Panel,
        seats=st.dictionaries(NAMES, st.lists(NAMES, max_size=2).map(tuple), max_size=4),
        route=st.sampled_from(["", "finance"]),
        needs=st.integers(1, 3),
    ),
    max_size=3,
).map(tuple)
ROUTES = st.fixed_dictionaries(
    {
        name: st.builds(
            Route,
            name=st.just(name),
            people=st.lists(st.one_of(NAMES, st.sampled_from("xyz")), max_size=4).map(tuple),
            needs=st.integers(1, 3),
            delegates=st.dictionaries(NAMES, st.lists(NAMES, max_size=2).map(tuple), max_size=2),
            owner_may=st.booleans(),
            starter_may=st.booleans(),
            expires=st.sampled_from([0.0, 0.5, 60.0]),
        )
        for name in "xyz"
    }
)  # fmt: skip
APPROVERS = st.lists(st.one_of(NAMES, st.sampled_from("xyz")), max_size=3, unique=True)


def brute(panel: Panel, approved: set[str]) -> int:
    """The most seats that different people can take, by trying everything."""
    options = [
        [seat for seat, others in panel.seats.items() if name == seat or name in others] + [None]
        for name in approved
    ]
    choices = ([one for one in choice if one] for choice in itertools.product(*options))
    return max(len(taken) for taken in choices if len(set(taken)) == len(taken))


@given(PANELS, st.sets(NAMES, max_size=5))
def test_seats_are_taken_as_well_as_can_be(panels: tuple[Panel, ...], approved: set[str]):
    for panel in panels:
        assert seated(panel, approved) == (brute(panel, approved) if approved else 0)


@given(PANELS, st.lists(NAMES, max_size=5), st.randoms(use_true_random=False), NAMES)
def test_any_order_gives_the_same_end(panels: Any, approved: list[str], dice: Any, more: str):
    """E61."""
    shuffled = dice.sample(approved, len(approved))
    assert met(panels, approved) == met(panels, shuffled)
    if met(panels, approved):
        assert met(panels, [*approved, more])
    assert bool(missing(panels, approved)) == (bool(panels) and not met(panels, approved))


@given(ROUTES, APPROVERS, st.sampled_from(["", "ann"]), st.sampled_from(["", "ann", "bea"]))
def test_whom_a_question_asks(routes: Any, approvers: list[str], owner: str, starter: str):
    """E60, E63, E64: nobody is asked whom no approver, route or delegation names; the agent never;
    and whom a route excludes takes none of its seats. It is total: cycles add nobody."""
    asking = resolve(approvers, routes, agents=("eve",), owner=owner, starter=starter, now=1000)
    everybody = set(people(asking.panels))
    named = {*approvers} | {
        name
        for route in routes.values()
        for name in (*route.people, *itertools.chain(*route.delegates.values()))
    }
    assert everybody <= named
    assert "eve" not in everybody
    assert not may(asking.panels, asking.barred, "eve")
    assert (not asking.panels) == (not approvers)
    for panel in asking.panels:
        route = routes.get(panel.route)
        if route is not None and not route.owner_may and owner:
            assert owner not in people((panel,))
        if route is not None and not route.starter_may and starter:
            assert starter not in people((panel,))
    enough = met(asking.panels, everybody) if asking.panels else True
    assert enough or asking.nobody
    expiries = [routes[one].expires for one in approvers if one in routes and routes[one].expires]
    assert asking.expires == (1000 + int(min(expiries) * 1000) if expiries else 0)


@given(ROUTES, APPROVERS, NAMES, st.sets(NAMES, max_size=4))
def test_one_more_approver_never_lets_more_people_approve(
    routes: Any, approvers: list[str], more: str, approved: set[str]
):
    """G7: whatever meets the longer list of routes meets the shorter too."""
    only = [one for one in approvers if one in routes]
    both = [*only, *(name for name in routes if name not in only)]
    less = resolve(only, routes, agents=("a",), owner="", starter="", now=0)
    full = resolve(both, routes, agents=("a",), owner="", starter="", now=0)
    if only and met(full.panels, approved):
        assert met(less.panels, approved)


@given(
    PANELS,
    st.lists(st.tuples(NAMES, st.sampled_from(["approve"] * 4 + ["deny", "edit"]),
                       st.integers(90, 110)), max_size=8),
)  # fmt: skip
def test_the_run_and_its_row_count_alike(panels: Any, answers: list[tuple[str, str, int]]):
    """E61, E62: the run wakes exactly when its question is decided."""
    asked = ApprovalAsked("1", "action", "May I?", "d", panels=panels, barred=("eve",), expires=105)
    bodies = [ApprovalGiven("1", "d", decision, by=by) for by, decision, _ in answers]
    times = [1, 2, *(at for _, _, at in answers)]
    history, row, head = History(), None, NO_HEAD
    for body, at in zip([RunStarted("a"), asked, *bodies], times, strict=True):
        event = seal(Draft(body, at), "r", head)
        head = type(head)(event.pos, event.id, "")
        row = fold_run(row, event)
        history.extend((event,))
    assert row is not None
    (wait,), step = row.waits, history.steps["1"]
    assert wait.ready == (step.given is not None)
    assert wait.approved == step.approved
    assert len(set(wait.approved)) == len(wait.approved)
    counted = [(by, decision) for by, decision, at in answers
               if at < 105 and may(panels, ("eve",), by)]  # fmt: skip
    if counted and all(decision == "approve" for _, decision in counted):
        assert wait.ready == met(panels, {by for by, _ in counted})


def test_a_person_barred_in_the_whole_leaves_nobody():
    asking = resolve(["bot"], {}, agents=("bot",), owner="", starter="", now=0)
    assert asking.nobody == "one must approve, and of its people only nobody may approve this"
