"""What if: forks of a run with one thing changed, compared with it. Bounded by a budget."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from holdfast.engine.fork import START
from holdfast.explain.compare import compare
from holdfast.explain.outcome import Outcome, Wanted, differs, outcome_of, short
from holdfast.explain.past import chain
from holdfast.explain.rates import wilson
from holdfast.explain.text import cut, one_line
from holdfast.explain.whatif import Tried, WhatIf, frequencies
from holdfast.journal.events import Draft, Event, FindingAdded, body_of
from holdfast.journal.store import Batch
from holdfast.journal.views import CAUSED
from holdfast.runtime.counterfactual import Changes, can_rerun, fork_with, step_of
from holdfast.runtime.runtime import Runtime
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Misuse


class Budget(msgspec.Struct, frozen=True):
    """How many forks are made at most, and how much their own steps may use in ``money`` (None: any
    amount) before no more is made."""

    forks: int = limits.WHATIF_RUNS
    money: float | None = None


async def what_if(
    runtime: Runtime,
    run: str,
    key: str,
    changes: Changes,
    *,
    wanted: Wanted | None = None,
    times: int = 1,
    budget: Budget | None = None,
    policy: str = "",
    told: Callable[[Tried], None] | None = None,
) -> WhatIf:
    """Fork ``run`` before step ``key`` with ``changes``, ``times`` over, and say what came of it.

    ``wanted``: which outcomes are good; ``policy``: what the runtime's policy is called, if that is
    what is changed; ``told`` hears of each fork. The result is kept as a finding about the step.
    Raises `Misuse` if the run's own outcome cannot be told, and as `fork_with`.
    """
    store, wanted, budget = runtime.store, wanted or Wanted(), budget or Budget()
    can_rerun(await store.run(run))
    events = await chain(store, run)
    original = outcome_of(events, wanted, store.get)
    if original.good is None and original.value is None:
        raise Misuse(f"the outcome of run {run} cannot be told ({original.text}): say --outcome")
    pos = 0 if key in ("", START) else (await step_of(store, run, key))[1]
    tried: list[Tried] = []
    stopped = ""
    for _ in range(times):
        stopped = _spent(tried, budget)
        if stopped:
            break
        made = await fork_with(runtime, run, key, changes)
        tried.append(_look(await chain(store, made), original, wanted, runtime))
        if told is not None:
            told(tried[-1])
    clear = [one for one in tried if one.differs is not None]
    flips = sum(one.differs is True for one in clear)
    low, high = wilson(flips, len(clear)) if clear else (0.0, 0.0)
    shown = next((one for one in clear if one.differs), tried[0] if tried else None)
    found = WhatIf(
        run, key or START, pos, words(key, changes, policy), original, tuple(tried), flips,
        len(clear), low, high, frequencies(tried), stopped,
        None if shown is None else compare(events, await chain(store, shown.run), store.get),
    )  # fmt: skip
    if clear:
        await _record(runtime, found)
    return found


def _look(events: list[Event], original: Outcome, wanted: Wanted, runtime: Runtime) -> Tried:
    """What came of a fork."""
    run = events[-1].run
    used: dict[str, float] = {}
    for event in events:
        if event.run == run and event.kind == "step.settled":
            for unit, much in body_of(event).usage.items():
                used[unit] = used.get(unit, 0) + much
    outcome = outcome_of(events, wanted, runtime.store.get)
    return Tried(run, outcome, differs(original, outcome), used)


def _spent(tried: list[Tried], budget: Budget) -> str:
    """Why no more forks are made; "" if they are."""
    if len(tried) >= budget.forks:
        return f"the budget of {budget.forks} forks is used up"
    money = sum(one.used.get("money", 0) for one in tried)
    if budget.money is not None and tried and money >= budget.money:
        return f"{money:g} of a budget of {budget.money:g} in money is used"
    return ""


def words(key: str, changes: Changes, policy: str = "") -> str:
    """What is changed, on one line."""
    said = [f"{path} = {short(value)}" for path, value in changes.edits.items()]
    said += [f"message {place} = {short(text)}" for place, text in changes.messages.items()]
    said += [f"without {'its result' if place == 'result' else f'message {place}'}"
             for place in changes.without]  # fmt: skip
    said += [f"model {changes.model}"] if changes.model else []
    said += [f"policy {policy}"] if policy else []
    at = f"@{key}: " if key not in ("", START) else ""
    return cut(one_line(at + (", ".join(said) or "taken again")), 300)


async def _record(runtime: Runtime, found: WhatIf) -> None:
    """Keep what was found, about the step that was changed.

    INVARIANT X23: it is kept once all forks are over, in one append: never a part of it.
    """
    blobs: Blobs = {}
    value = {
        "step": found.step, "intervention": found.intervention, "flips": found.flips,
        "of": found.of, "low": found.low, "high": found.high,
    }  # fmt: skip
    body = FindingAdded(found.pos, CAUSED, runtime.settings.user)
    draft = Draft(body, runtime.host.clock.now_ms(), value=pack(value, blobs))
    await runtime.store.append((Batch(found.run, (draft,)),), blobs)
