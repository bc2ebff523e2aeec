"""(Wrong, right) trajectories of runs that share a beginning, as tools for training read them.

Of two forks of a run one may have come to a better outcome. Their common beginning is the prompt;
how each went on is what was chosen and what was rejected, in the chat form. Runs that ask no model
are told as calls of tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from holdfast.explain import conversation
from holdfast.explain.compare import compare, shared_events
from holdfast.explain.outcome import Outcome, Wanted, outcome_of, score_of
from holdfast.explain.taken import Past, Taken, read
from holdfast.explain.telling import Fetch, plain
from holdfast.journal.events import Event
from holdfast.values.canon import encode
from holdfast.values.errors import HoldfastError

Message = dict[str, Any]


class Pair(msgspec.Struct, frozen=True):
    """One pair. ``prompt``, ``chosen``, ``rejected``: messages; ``tools``: what a model was offered
    there. ``same_prompt``: False if what stood before the two was not the same (somebody changed a
    message or a result): then ``prompt`` is that of the rejected. ``runs``, ``at``: both runs and
    where they part; ``differed``: what differs there, in words; ``why``: why one is better;
    ``erased``: how many payloads were erased and are left out."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[Any]
    same_prompt: bool
    runs: dict[str, str]
    at: dict[str, str]
    differed: str
    why: str
    erased: int = 0


class Known(NamedTuple):
    """A run with what is known of its worth."""

    run: str
    events: Sequence[Event]
    outcome: Outcome
    score: float | None


def known(events: Sequence[Event], wanted: Wanted, fetch: Fetch) -> Known:
    """What is known of a run's worth."""
    score = score_of(events, fetch) if wanted.condition is None else None
    number = score.score if score is not None else None
    return Known(events[-1].run, events, outcome_of(events, wanted, fetch), number)


def better(one: Known, other: Known) -> bool | None:
    """Whether ``one`` came to the better outcome; None if neither is known to be better."""
    if one.outcome.good is not None and other.outcome.good is not None:
        return None if one.outcome.good == other.outcome.good else one.outcome.good
    if one.score is not None and other.score is not None and one.score != other.score:
        return one.score > other.score
    return None


def couples(family: Sequence[Known]) -> list[tuple[Known, Known]]:
    """(Right, wrong) for each wrong run: with the better runs that share most of its past."""
    found: list[tuple[Known, Known]] = []
    for wrong in family:
        rights = [right for right in family if better(right, wrong)]
        shares = [shared_events(right.events, wrong.events) for right in rights]
        most = max(shares, default=0)
        if most:
            found += [(right, wrong) for right, n in zip(rights, shares, strict=True) if n == most]
    return found


def pair(right: Known, wrong: Known, fetch: Fetch) -> Pair | str:
    """The pair that two runs make; a text says why they make none."""
    shared = shared_events(right.events, wrong.events)
    tellers = [_Teller(read(known.events), shared, fetch) for known in (right, wrong)]
    asks = [teller.conversation() for teller in tellers]
    if all(asks):
        whole = [ask for ask in asks if ask is not None]
    elif any(asks):
        return "only one of them asks a model after they part"
    else:
        whole = [teller.calls() for teller in tellers]
    prompt, rest, same = _parted(*whole)
    if not all(rest):
        return "one of them does nothing after they part, or what it did was erased"
    found = compare(right.events, wrong.events, fetch).first
    at = {"chosen": found.a, "rejected": found.b} if found is not None else {}
    runs = {"chosen": right.run, "rejected": wrong.run}
    return Pair(
        prompt, *rest, tellers[1].tools, same, runs,
        {name: f"{runs[name]}@{place.key}" for name, place in at.items() if place is not None},
        found.reason if found is not None else "",
        f"chosen: {right.outcome.text}; rejected: {wrong.outcome.text}",
        sum(teller.erased for teller in tellers),
    )  # fmt: skip


def _parted(
    right: list[Message], wrong: list[Message]
) -> tuple[list[Message], tuple[list[Message], list[Message]], bool]:
    """What both have in common, how each goes on from its next words of its own, and whether they
    part there and not before."""
    same = 0
    while same < min(len(right), len(wrong)) and encode(right[same]) == encode(wrong[same]):
        same += 1
    starts = [_own(messages, same) for messages in (right, wrong)]
    prompt = wrong[: starts[1]]
    return prompt, (right[starts[0] :], wrong[starts[1] :]), starts == [same, same]


def _own(messages: list[Message], start: int) -> int:
    """The place of the first message from ``start`` on that the agent said."""
    own = (n for n in range(start, len(messages)) if messages[n]["role"] == "assistant")
    return next(own, len(messages))


class _Teller:
    """Tells a run in messages. ``shared``: how many events it has in common with the other."""

    def __init__(self, past: Past, shared: int, fetch: Fetch) -> None:
        self.past = past
        self.shared = shared
        self.fetch = fetch
        self.tools: list[Any] = []
        self.erased = 0

    def conversation(self) -> list[Message] | None:
        """The conversation that its first own question to a model belongs to, to its end; None if
        it asks none."""
        found: list[Message] | None = None
        asked: list[Message] = []
        for taken in self.past.steps:
            plan = taken.step.plan
            if taken.settled < self.shared or plan is None or plan.kind != "model":
                continue
            args, value = self._read(taken.step.args), self._read(taken.step.value)
            talk = conversation.asked(args)
            messages = conversation.chat(talk.messages, talk.system[1] if talk.system else None)
            if not messages or (found is not None and messages[: len(asked)] != asked):
                continue  # erased, or another conversation
            self.tools = talk.menu if isinstance(talk.menu, list) else []
            found, asked = [*messages, *conversation.answered(value)], messages
        return found

    def calls(self) -> list[Message]:
        """What it was given, and its steps as calls of tools."""
        given = {"agent": self.past.started.agent, "args": self._read(self.past.history.input)}
        found: list[Message] = [{"role": "user", "content": encode(given).decode()}]
        for taken in self.past.steps:
            plan = taken.step.plan
            if plan is not None and plan.kind == "tool":
                found += self._call(taken, plan.name)
        return found

    def _call(self, taken: Taken, name: str) -> list[Message]:
        args, settled = self._read(taken.step.args), taken.step.settled
        key = f"call_{taken.segment}_{taken.step.key}"
        function = {"name": name, "arguments": args if isinstance(args, dict) else {}}
        call = {"id": key, "type": "function", "function": function}
        value: Any = self._read(taken.step.value)
        if settled is None or settled.status != "value":
            error = settled.error if settled is not None else None
            value = {"status": settled.status if settled is not None else "open",
                     "error": error.text if error is not None else ""}  # fmt: skip
        text = value if isinstance(value, str) else encode(value).decode()
        return [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": key, "content": text},
        ]

    def _read(self, skeleton: bytes | None) -> Any:
        """A payload; None if it, or part of it, was erased."""
        try:
            value = plain(skeleton, self.fetch)
        except HoldfastError:
            value = {"erased": True}
        if value == {"erased": True} or (isinstance(value, dict) and set(value) == {"unreadable"}):
            self.erased += 1
            return None
        return value
