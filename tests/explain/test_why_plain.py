"""Why: what is told without decoding is what a reading of everything tells."""

from __future__ import annotations

import functools
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.explain import slice as slices
from holdfast.explain import sources
from holdfast.explain import why as reading
from holdfast.explain.because import Why
from holdfast.explain.chain import Chain
from holdfast.explain.sources import Source
from holdfast.explain.why import read_why
from holdfast.journal.events import (
    ApprovalGiven,
    Event,
    Failure,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
    Verdict,
    erased,
)
from tests.explain.labelled import Tape

NEVER = re.compile(rb"(?!)")
WORDS = ("pay 4471", "code K-5512", 'he said "$", {"kind":"model"}', "lunch", "\\u0024 \\ é")
LONG = " The rest of this mail is of no interest, but it is long." * 6


class Plain(Chain):
    """A chain that decodes each body, and takes no event for surely uninteresting."""

    @functools.cached_property
    def keys_at(self) -> list[bytes | None]:
        """As `Chain.keys_at`, decoded."""
        found = [getattr(self.body(event.pos), "key", None) for event in self.events]
        return [key.encode() if isinstance(key, str) else None for key in found]

    def positions(self, key: str) -> list[int]:
        """By looking at every event."""
        return [pos for pos, one in enumerate(self.keys_at) if one == key.encode()]

    def holding(self, mark: bytes) -> list[Event]:
        """All events: whoever asks looks at the bodies too."""
        return list(self.events)


def plainly(patch: pytest.MonkeyPatch) -> None:
    """From here on nothing is told without decoding it."""
    patch.setattr(reading, "Chain", Plain)
    patch.setattr(sources, "_MODEL", NEVER)
    patch.setattr(Source, "intact", property(lambda self: False, lambda self, value: None))


def a_result(dice: random.Random, at: int) -> Any:
    text = f"{dice.choice(WORDS)} ref {at % 7}-{at % 3}"
    if dice.random() < 0.5:
        text += LONG
    return dice.choice([text, {"body": text, "n": at}, [text, {"more": [text, LONG + "x"]}]])


def settle(tape: Tape, dice: random.Random, key: str, value: Any) -> None:
    """A step in one of the forms that journals have."""
    form = dice.randrange(8)
    verdict = Verdict("allow", ("r",), facts={"kind": "model"} if dice.random() < 0.3 else {})
    plan = Plan("look", dice.choice(["tool", "tool", "ask", "signal", "wait"]))
    if form == 0:
        tape.add(StepPlanned(key, plan, verdict=verdict), args={"id": key})
        if dice.random() < 0.3:
            tape.add(ApprovalGiven(key, "d", "approve", "ann"))
        tape.add(StepSettled(key), value=value)
    elif form == 1:
        error = Failure("Outside", f'no "kind":"model" {dice.choice(WORDS)}')
        tape.add(StepSettled(key, plan, verdict, "error", error), args={})
    elif form == 2:
        request = {"messages": [{"role": "user", "content": str(value)}]}
        answer = {"tool_calls": [{"name": "act", "arguments": '{"to": "4471"}'}]}
        body = StepSettled(key, Plan("p.m", "model"), verdict)
        tape.add(body, args={"request": request}, value={"response": answer})
    elif form == 3:
        status: Any = dice.choice(["refused", "held", "value"])
        origin = dice.choice(["", "person", "edit"])
        tape.add(StepSettled(key, plan, verdict, status, origin=origin), args={}, value=value)
    elif form == 4:
        tape.add(StepPlanned(key, Plan("p.m", "model")), args={"request": {}})
        tape.add(StepSettled(key), value={"response": "pay 4471"})
    else:
        tape.add(StepSettled(key, Plan("look"), verdict), args={"id": key}, value=value)


def a_run(dice: random.Random) -> Tape:
    """Steps of all forms over segments and forks, some of their content erased or deleted."""
    tape = Tape()
    tape.start("Pay 4471 what is owed.")
    step = 0
    for at in range(dice.randrange(3, 22)):
        step += 1
        key = dice.choice([f"{step}", f"a.{step}", f'q"{step}'])
        settle(tape, dice, key, a_result(dice, at))
        if dice.random() < 0.08:
            step = 0
            tape.add(RunStarted("clerk", by="bob", segment=2), args={"state": "K-5512"})
        elif dice.random() < 0.05:
            tape.add(RunStarted("clerk", fork_of="r0", fork_pos=tape.events[-1].pos))
    tape.steps = 900
    args = {"to": "4471", "ref": "5-2", "code": "K-5512", "note": "as he said, lunch"}
    tape.call("act", args, "done", "once")
    for pos, event in enumerate(tape.events[:-1]):
        if event.kind == "step.settled" and event.value and dice.random() < 0.05:
            tape.events[pos] = msgspec.structs.replace(event, value=erased(event.value))
    for name in sorted(tape.blobs):
        if dice.random() < 0.05:
            del tape.blobs[name]
    tape.add(RunEnded("done"), value={"said": "K-5512"})
    return tape


def asked(tape: Tape, key: str) -> Why:
    return read_why(tape.events, tape.fetch, key)


@pytest.mark.hypothesis
@given(st.integers(0, 10**9), st.sampled_from([3, 10**9]))
def test_what_is_told_without_decoding_is_what_everything_tells(seed: int, most: int):
    """INVARIANT X220, X221, X224."""
    tape = a_run(random.Random(seed))
    key = str(tape.steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "MOST", most)
        fast = asked(tape, key), asked(tape, "")
        plainly(patch)
        assert fast == (asked(tape, key), asked(tape, ""))


@pytest.mark.hypothesis
@given(st.integers(0, 10**9))
def test_a_source_that_was_not_read_is_said_to_be_unread(seed: int):
    """INVARIANT X222."""
    dice = random.Random(seed)
    tape = Tape()
    tape.start("Do it.")
    for at in range(24):
        text = f"{dice.choice(WORDS)} {at % 5}7{at % 3}-K"
        tape.call("look", {"id": at}, {"body": LONG + text} if dice.random() < 0.7 else text)
    key = tape.call("act", {"to": "4471", "ref": "273-K", "code": "K-5512"}, None, "once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "MOST", 3)
        patch.setattr(slices, "SIFTED", dice.choice([2, 8, 96]))
        patch.setattr(sources, "OLDEST", 1)
        patch.setattr(sources, "NEWEST", 2)
        some = asked(tape, key)
        patch.setattr(slices, "MOST", 10**9)
        every = asked(tape, key)
    assert not any("was not read" in text or "compared closely" in text for text in every.untraced)
    known = {(one.path, edge.source.place) for one in some.arguments for edge in one.edges}
    wanted = {(one.path, edge.source.place) for one in every.arguments for edge in one.edges}
    if not wanted <= known:
        assert any("was not read" in text or "compared closely" in text for text in some.untraced)


def test_names_of_content_hide_no_source():
    """INVARIANT X223."""
    tape = Tape()
    tape.start("Do it.")
    for at in range(450):
        tape.call("look", {"id": at}, {"body": LONG + f"mail {at}"} if at != 400 else "use a7 then")
    key = tape.call("act", {"code": "a7"}, None, "once")
    (code,) = asked(tape, key).arguments
    assert [edge.source.step for edge in code.edges] == ["401"]
