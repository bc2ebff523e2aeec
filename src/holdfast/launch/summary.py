"""What a launched command did, read from its run: decisions, tools, models, money, changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.engine.history import History, Step
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.models.dialects import DIALECTS
from holdfast.models.plain import mapping
from holdfast.values import limits
from holdfast.values.canon import unpack
from holdfast.values.masking import fit
from holdfast.world import EMPTY, Stage, diff, line_changes
from holdfast.world.rowdiff import is_database

OWN = "launcher."
"""Steps that are the launcher's own."""


class Decision(msgspec.Struct, frozen=True):
    """A call that the policy did not simply allow. ``decision``: escalate or deny (or verify);
    ``enforced``: it was, not only recorded; ``said``: what became of it."""

    step: str
    what: str
    decision: str
    rule: str
    reason: str
    enforced: bool
    said: str = ""


class Models(msgspec.Struct):
    """Calls of models and what they used, in tokens; ``money`` in USD; ``unpriced``: calls whose
    price nobody knows; ``untold``: calls that did not say what they used."""

    calls: int = 0
    failed: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    money: float = 0.0
    unpriced: int = 0
    untold: int = 0
    names: Counter[str] = msgspec.field(default_factory=Counter[str])


class File(msgspec.Struct, frozen=True):
    """A path that differs. ``database``: it is one."""

    path: str
    kind: str
    added: int
    removed: int
    database: bool = False


class Summary(msgspec.Struct):
    """The whole of it. ``calls``: steps of the command's; ``tools``: how often each was called;
    ``asked``: what is built into the agent, by name: seen in the models' answers only."""

    calls: int = 0
    allowed: int = 0
    decisions: list[Decision] = []
    tools: Counter[str] = msgspec.field(default_factory=Counter[str])
    models: Models = msgspec.field(default_factory=Models)
    files: list[File] = []
    asked: Counter[str] = msgspec.field(default_factory=Counter[str])

    def of(self, decision: str, *, enforced: bool) -> int:
        """How many were decided so."""
        return sum((one.decision, one.enforced) == (decision, enforced) for one in self.decisions)


async def read_summary(store: Store, row: RunRow) -> Summary:
    """Fold a run's journal."""
    history = History()
    stop = (await store.head(row.run)).pos + 1
    for start in range(0, stop, limits.READ_PAGE_EVENTS):
        end = min(stop, start + limits.READ_PAGE_EVENTS)
        history.extend(await store.read(row.run, start, end))
    found = Summary()
    waiting = {wait.key for wait in row.waits}
    for step in history.steps.values():
        if step.plan is not None and step.plan.kind in ("tool", "model"):
            _take(found, row.run, step, store, waits=step.key in waiting)
    stage = Stage(store.get)
    (started,) = await store.read(row.run, 0, 1)
    after = (await store.head(row.run)).world or EMPTY
    for change in diff(stage, started.world or EMPTY, after):
        added, removed = line_changes(stage, change)
        entry = change.after or change.before
        found.files.append(
            File(change.path, change.kind, added, removed,
                 entry is not None and entry.is_file and is_database(stage, entry))
        )  # fmt: skip
    return found


def _take(found: Summary, run: str, step: Step, store: Store, *, waits: bool) -> None:
    assert step.plan is not None
    own = step.plan.name.startswith(OWN)
    verdict = step.verdict or (step.settled.verdict if step.settled else None)
    if verdict is None and step.asked is not None:
        verdict = step.asked.verdict
    decision = (verdict.observed or verdict.decision) if verdict is not None else "allow"
    if not own:
        found.calls += 1
    if decision == "allow":
        found.allowed += not own
    elif verdict is not None:
        found.decisions.append(Decision(
            f"{run}@{step.key}", fit(_what(step, store), 160), decision,
            verdict.rules[0] if verdict.rules else "", fit(verdict.reason),
            enforced=not verdict.observed, said=_said(step, waits=waits),
        ))  # fmt: skip
    if own:
        return
    if step.plan.kind == "tool":
        found.tools[step.plan.name] += 1
    else:
        _take_model(found, step, store)


def _said(step: Step, *, waits: bool) -> str:
    if waits:
        return "waits"
    if step.settled is None:
        return "open"
    return {"value": "done", "refused": "refused"}.get(step.settled.status, step.settled.status)


def _what(step: Step, store: Store) -> str:
    assert step.plan is not None
    args = {} if step.args is None else unpack(step.args, store.get)
    said = ", ".join(f"{k}={v!r}" for k, v in args.items() if k not in ("request", "dialect"))
    return f"{step.plan.name}({said})"


def _take_model(found: Summary, step: Step, store: Store) -> None:
    assert step.plan is not None
    models = found.models
    args = {} if step.args is None else mapping(unpack(step.args, store.get))
    if str(args.get("dialect", "")).endswith("/count"):
        return
    models.calls += 1
    models.names[step.plan.name] += 1
    value = {} if step.value is None else mapping(unpack(step.value, store.get))
    status = value.get("status")
    if not isinstance(status, int) or status >= 400:
        models.failed += 1
        return
    usage = mapping(value.get("usage"))
    if not usage:
        models.untold += 1
    for name in ("input", "output", "cache_read", "cache_write"):
        setattr(models, name, getattr(models, name) + _number(usage, name))
    price = mapping(value.get("price"))
    if isinstance(price.get("money"), int | float):
        models.money += price["money"]
    else:
        models.unpriced += 1
    _asked(found, str(args.get("dialect", "")), mapping(value.get("response")))


def _asked(found: Summary, dialect: str, response: dict[str, Any]) -> None:
    if dialect in DIALECTS:
        for call in DIALECTS[dialect].answer(response).calls:
            found.asked[call.name] += 1


def _number(of: Mapping[str, Any], name: str) -> int:
    value = of.get(name)
    return value if isinstance(value, int) else 0
