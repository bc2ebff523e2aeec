"""Who began it: the chain of runs that led to a step, and the words of the persons behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from holdfast.explain.because import Initiator
from holdfast.explain.chain import Chain, Lost
from holdfast.explain.matching import leaves
from holdfast.explain.text import cut
from holdfast.journal.events import Event, RunStarted

TEXT: Final = 400
"""Characters of one text of arguments, results or a person's words that are shown."""
_WORDS: Final = 8
"""Texts of persons that are shown for one run."""


def initiators(
    chain: Chain, before: int, above: Sequence[tuple[Event, Any]]
) -> tuple[Initiator, ...]:
    """This run, those that it forks from, and those that spawned it, nearest first."""
    found: list[Initiator] = []
    own = [pos for pos in chain.starts if pos < before or pos == 0]
    runs: dict[str, list[int]] = {}
    for pos in own:
        runs.setdefault(chain.events[pos].run, []).append(pos)
    for run in reversed(runs):
        first = runs[run][0]
        body: RunStarted = chain.body(first)
        words = [*_input_words(chain.plain(chain.events[first].args), body)]
        words += [cut(str(value), TEXT) for value in _said_by_persons(chain, run, before)]
        found.append(_initiator(chain.events[first], body, tuple(words)))
    for event, given in above:
        body = Chain([event], chain.fetch).body(0) if event.pos == 0 else chain.body(event.pos)
        found.append(_initiator(event, body, tuple(_input_words(given, body))))
    return tuple(found)


def _initiator(event: Event, body: RunStarted, words: tuple[str, ...]) -> Initiator:
    how = "forked" if body.fork_of else "spawned" if body.parent else "started"
    return Initiator(
        event.run, body.agent, body.role, how, body.by, event.at,
        f"{body.parent}@{body.parent_key}" if body.parent else "",
        f"{body.fork_of}#{body.fork_pos}" if body.fork_of else "",
        tuple(f"{one.key}.{one.path}" for one in body.edits), body.label, words,
    )  # fmt: skip


def _input_words(value: Any, body: RunStarted) -> Iterator[str]:
    if body.parent or not body.by or value is None or isinstance(value, Lost):
        return
    for _, text in list(leaves("", value))[:_WORDS]:
        yield cut(text, TEXT)


def _said_by_persons(chain: Chain, run: str, before: int) -> Iterator[Any]:
    count = 0
    for event in chain.holding(b'"ask"'):
        if event.pos < before and event.run == run and event.kind == "step.settled":
            body = chain.body(event.pos)
            if body.plan is not None and body.plan.kind == "ask":
                value = chain.plain(event.value)
                if isinstance(value, str):
                    yield value
                    count += 1
                if count >= _WORDS:
                    return
