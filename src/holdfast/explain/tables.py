"""The journal as documented tables: what `holdfast sql` asks and Parquet files hold.

One pass over events in the order of their commits, folding each into rows. Every event counts
once, in the run that recorded it: what a fork shares with its source stands under the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast.explain.conventions import Answer, Tokens
from holdfast.explain.telling import Fetch, plain
from holdfast.explain.text import json_text
from holdfast.journal.events import Event, Plan, Verdict, body_of
from holdfast.journal.views import SCORE

TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "runs": {
        "run": ("TEXT", "id"),
        "agent": ("TEXT", "name of the program"),
        "role": ("TEXT", "its role, which policies see"),
        "by": ("TEXT", "who started it"),
        "status": ("TEXT", "done, failed, cancelled, or open"),
        "started": ("INTEGER", "ms since 1970"),
        "ended": ("INTEGER", "ms since 1970; NULL while it is open"),
        "parent": ("TEXT", "run that spawned it"),
        "parent_step": ("TEXT", "and the step"),
        "fork_of": ("TEXT", "run that it forks from"),
        "fork_pos": ("INTEGER", "after which event of it"),
        "segments": ("INTEGER", "how many segments it has"),
        "events": ("INTEGER", "events of its own"),
        "steps": ("INTEGER", "steps that it settled"),
        "tokens": ("REAL", "that its steps used"),
        "money": ("REAL", "that its steps used"),
        "error": ("TEXT", "type of what it failed with"),
    },
    "steps": {
        "run": ("TEXT", "run"),
        "step": ("TEXT", "key, as in RUN@STEP"),
        "segment": ("INTEGER", "of the run"),
        "pos": ("INTEGER", "its first event in the run"),
        "kind": ("TEXT", "tool, model, wait, signal, ask, spawn, merge, dice, fork, ..."),
        "name": ("TEXT", "of the tool, PROVIDER.MODEL, ..."),
        "effect": ("TEXT", "read, world, idempotent or once"),
        "status": ("TEXT", "value, error, refused, unknown, held, expired, or open"),
        "started": ("INTEGER", "ms since 1970"),
        "settled": ("INTEGER", "ms since 1970"),
        "took": ("INTEGER", "microseconds of the last attempt"),
        "attempts": ("INTEGER", "how many"),
        "decision": ("TEXT", "of its newest verdict"),
        "origin": ("TEXT", "who supplied its outcome, if it was not performed"),
        "label": ("TEXT", "integrity/confidentiality of its outcome"),
        "branch": ("TEXT", "step that opened the branch it was taken on"),
        "tokens": ("REAL", "that it used"),
        "money": ("REAL", "that it used"),
        "error": ("TEXT", "type of its failure"),
    },
    "events": {
        "seq": ("INTEGER", "place in the order of the store"),
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "place in the run's chain"),
        "id": ("TEXT", "SHA-256, hex"),
        "kind": ("TEXT", "one of the ten kinds"),
        "at": ("INTEGER", "ms since 1970"),
        "step": ("TEXT", "key of the step it is about"),
        "world": ("TEXT", "root of the run's world after it"),
        "body": ("TEXT", "JSON; json_extract(body, '$.name') reads it"),
    },
    "verdicts": {
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "event that carries it"),
        "step": ("TEXT", "step that was judged"),
        "at": ("INTEGER", "ms since 1970"),
        "name": ("TEXT", "of the tool or model"),
        "decision": ("TEXT", "allow, verify, escalate or deny"),
        "observed": ("TEXT", "what was decided, where that is only recorded"),
        "rule": ("TEXT", "the rule that decided"),
        "reason": ("TEXT", "why"),
        "policy": ("TEXT", "first digits of the policy's hash"),
        "risk": ("REAL", "0 to 1; 0: not computed"),
    },
    "rules": {
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "event that carries the verdict"),
        "place": ("INTEGER", "0: the rule that decided"),
        "rule": ("TEXT", "id of a rule that matched"),
    },
    "facts": {
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "event that carries the verdict"),
        "name": ("TEXT", "what the policy could look at"),
        "value": ("TEXT", "JSON, or plain text"),
    },
    "usage": {
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "event that settled the step"),
        "step": ("TEXT", "step"),
        "at": ("INTEGER", "ms since 1970"),
        "provider": ("TEXT", "of a model"),
        "model": ("TEXT", "name of the model"),
        "input": ("INTEGER", "tokens neither read from nor written to a cache"),
        "output": ("INTEGER", "tokens"),
        "cache_read": ("INTEGER", "tokens"),
        "cache_write": ("INTEGER", "tokens"),
        "reasoning": ("INTEGER", "tokens, part of output"),
        "tokens": ("REAL", "what budgets count"),
        "money": ("REAL", "what budgets count"),
        "first_ms": ("REAL", "until the first piece came"),
    },
    "questions": {
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "event that asks"),
        "step": ("TEXT", "step"),
        "about": ("TEXT", "action, question, unknown or budget"),
        "text": ("TEXT", "what the person reads"),
        "asked": ("INTEGER", "ms since 1970"),
        "expires": ("INTEGER", "ms since 1970; 0: never"),
        "needs": ("INTEGER", "people"),
        "answers": ("INTEGER", "that were given"),
        "decision": ("TEXT", "of the newest answer"),
        "by": ("TEXT", "who gave it"),
        "answered": ("INTEGER", "when, ms since 1970"),
        "note": ("TEXT", "what they wrote"),
    },
    "findings": {
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "event of the finding"),
        "about": ("INTEGER", "event that it is about"),
        "type": ("TEXT", "score, anomaly, caused, review, ..."),
        "by": ("TEXT", "who or what found it"),
        "at": ("INTEGER", "ms since 1970"),
        "good": ("INTEGER", "of a score: 1, 0 or NULL"),
        "score": ("REAL", "of a score"),
        "value": ("TEXT", "JSON"),
    },
    "worlds": {
        "run": ("TEXT", "run"),
        "pos": ("INTEGER", "event that changed the run's world"),
        "step": ("TEXT", "step that did"),
        "at": ("INTEGER", "ms since 1970"),
        "before": ("TEXT", "root"),
        "after": ("TEXT", "root"),
    },
}
"""Columns of each table, with type and meaning. Texts that are not there are ''."""

Rows = dict[str, list[Any]]
"""Rows of each table, in the order of its columns."""

_answer = msgspec.json.Decoder(Answer)
_NO_TOKENS = Tokens()
_column = {name: {one: at for at, one in enumerate(columns)} for name, columns in TABLES.items()}
_RUN, _STEP = _column["runs"], _column["steps"]


def fold(events: Iterable[Event], fetch: Fetch) -> Rows:
    """The rows of all tables; ``fetch`` reads what findings refer to."""
    folding = _Folding(fetch)
    for event in events:
        folding.take(event)
    return folding.rows


class _Folding:
    """Rows as they grow: those of runs, steps and questions are lists, to be changed later."""

    def __init__(self, fetch: Fetch) -> None:
        self.rows: Rows = {name: [] for name in TABLES}
        self._fetch = fetch
        self._runs: dict[str, list[Any]] = {}
        self._steps: dict[str, dict[str, list[Any]]] = {}
        self._questions: dict[tuple[str, str], list[Any]] = {}
        self._worlds: dict[str, str] = {}
        self._takers = {
            "run.started": self._started, "step.planned": self._planned,
            "step.settled": self._settled, "approval.asked": self._asked,
            "approval.given": self._given, "finding.added": self._found, "run.ended": self._ended,
        }  # fmt: skip

    def take(self, event: Event) -> None:
        """One more event, in the order of commits."""
        body, run = body_of(event), event.run
        kind = event.kind
        key = getattr(body, "key", "") if kind != "checkpoint.signed" else ""
        self.rows["events"].append((
            event.seq, run, event.pos, event.id, kind, event.at, key, event.world,
            event.body.decode(),
        ))  # fmt: skip
        if taker := self._takers.get(kind):
            taker(event, body)
        if row := self._runs.get(run):
            row[_RUN["events"]] += 1
        before = self._worlds.get(run, "")
        if event.world != before:
            self._worlds[run] = event.world
            self.rows["worlds"].append((run, event.pos, key, event.at, before, event.world))

    def _started(self, event: Event, body: Any) -> None:
        run = event.run
        if row := self._runs.get(run):
            row[_RUN["segments"]] += 1
            self._steps[run] = {}  # keys begin anew
            return
        row = self._runs[run] = [
            run, body.agent, body.role, body.by, "open", event.at, None, body.parent,
            body.parent_key, body.fork_of, body.fork_pos if body.fork_of else None, 1, 0, 0, 0.0,
            0.0, "",
        ]  # fmt: skip
        self.rows["runs"].append(row)
        if body.fork_of:  # its world is the source's as it was then; the root stands in the event
            self._worlds[run] = event.world

    def _ended(self, event: Event, body: Any) -> None:
        if row := self._runs.get(event.run):
            row[_RUN["status"]], row[_RUN["ended"]] = body.status, event.at
            row[_RUN["error"]] = body.error.type if body.error else ""

    def _of(self, event: Event, key: str, plan: Plan | None) -> list[Any]:
        """The row of a step, made with its first event."""
        steps = self._steps.setdefault(event.run, {})
        found = steps.get(key)
        if found is None:
            known = plan or self._shared(event.run, key)
            run = self._runs.get(event.run)
            found = steps[key] = [
                event.run, key, run[_RUN["segments"]] if run else 1, event.pos,
                *((known.kind, known.name, known.effect) if known else ("", "", "")),
                "open", event.at, None, 0, 1, "", "", "", "", 0.0, 0.0, "",
            ]  # fmt: skip
            self.rows["steps"].append(found)
        return found

    def _shared(self, run: str, key: str) -> Plan | None:
        """What a fork's source had planned as a step that the fork settles."""
        seen: set[str] = set()
        while (row := self._runs.get(run)) and (run := row[_RUN["fork_of"]]) not in seen:
            seen.add(run)
            if found := self._steps.get(run, {}).get(key):
                return Plan(found[_STEP["name"]], found[_STEP["kind"]], found[_STEP["effect"]])
        return None

    def _planned(self, event: Event, body: Any) -> None:
        row = self._of(event, body.key, body.plan)
        row[_STEP["attempts"]], row[_STEP["branch"]] = body.attempt, body.branch
        if body.verdict is not None:
            self._judged(event, body.verdict, row)

    def _judged(self, event: Event, verdict: Verdict, row: list[Any]) -> None:
        run, pos = event.run, event.pos
        row[_STEP["decision"]] = verdict.decision
        rules = verdict.rules
        self.rows["verdicts"].append((
            run, pos, row[_STEP["step"]], event.at, row[_STEP["name"]], verdict.decision,
            verdict.observed, rules[0] if rules else "", verdict.reason, verdict.policy,
            verdict.risk,
        ))  # fmt: skip
        if rules:
            self.rows["rules"] += [(run, pos, place, rule) for place, rule in enumerate(rules)]
        if verdict.facts:
            self.rows["facts"] += [
                (run, pos, name, value if isinstance(value, str) else json_text(value))
                for name, value in verdict.facts.items()
            ]

    def _settled(self, event: Event, body: Any) -> None:
        row = self._of(event, body.key, body.plan)
        if body.verdict is not None:
            self._judged(event, body.verdict, row)
        row[7] = body.status
        row[9:12] = (event.at, body.took, body.attempt)
        row[13:16] = (body.origin, body.label, body.branch)
        if body.error is not None:
            row[_STEP["error"]] = body.error.type
        run = self._runs.get(event.run)
        if run:
            run[_RUN["steps"]] += 1
        model = row[_STEP["kind"]] == "model"
        if body.usage or model:
            tokens, money = body.usage.get("tokens", 0.0), body.usage.get("money", 0.0)
            row[_STEP["tokens"]], row[_STEP["money"]] = tokens, money
            if run:
                run[_RUN["tokens"]] += tokens
                run[_RUN["money"]] += money
            self._used(event, row, model=model)

    def _used(self, event: Event, row: list[Any], *, model: bool) -> None:
        used, first, provider, name = _NO_TOKENS, None, "", ""
        if model:
            provider, _, name = row[_STEP["name"]].partition(".")
            try:
                answer = _answer.decode(event.value or b"{}")
            except (msgspec.DecodeError, UnicodeDecodeError):
                answer = Answer()  # erased, or made by a tool that only calls itself a model
            used, first = answer.usage or used, answer.first_ms
        self.rows["usage"].append((
            event.run, event.pos, row[_STEP["step"]], event.at, provider, name, used.input,
            used.output, used.cache_read, used.cache_write, used.reasoning, row[_STEP["tokens"]],
            row[_STEP["money"]], first,
        ))  # fmt: skip

    def _asked(self, event: Event, body: Any) -> None:
        step = self._of(event, body.key, body.plan)
        if body.verdict is not None:
            self._judged(event, body.verdict, step)
        row = self._questions[event.run, body.key] = [
            event.run, event.pos, body.key, body.about, body.text, event.at, body.expires,
            body.needs, 0, "", "", None, "",
        ]  # fmt: skip
        self.rows["questions"].append(row)

    def _given(self, event: Event, body: Any) -> None:
        if row := self._questions.get((event.run, body.key)):
            row[8] += 1
            row[9:] = (body.decision, body.by, event.at, body.note)

    def _found(self, event: Event, body: Any) -> None:
        value = plain(event.value, self._fetch)
        told: dict[str, Any] = value if body.type == SCORE and isinstance(value, dict) else {}
        good, score = told.get("good"), told.get("score")
        self.rows["findings"].append((
            event.run, event.pos, body.about, body.type, body.by, event.at,
            int(good) if isinstance(good, bool) else None,
            float(score) if isinstance(score, int | float) else None, json_text(value),
        ))  # fmt: skip


def reference() -> str:
    """The tables as Markdown, for docs/sql.md."""
    lines: list[str] = []
    for name, columns in TABLES.items():
        lines += [f"### {name}", "", "| column | type | meaning |", "|---|---|---|"]
        lines += [f"| {one} | {kind} | {text} |" for one, (kind, text) in columns.items()]
        lines.append("")
    return "\n".join(lines)
