"""A run as OpenTelemetry spans: a pure mapping from events, by the names in `conventions`.

A run is an ``invoke_agent`` span, a model's answer ``chat``, a tool ``execute_tool``; other steps
are spans without an operation. Verdicts and approvals are events on the span of their step. What a
child run did stands under the step that spawned it, in the trace of its parent; a fork is a trace
of its own, linked to the event it forks from. A score is a span of no length under what it is
about, with the event ``gen_ai.evaluation.result`` on it, for it may come long after.

INVARIANT X160: ids derive from event hashes (trace: first 16 bytes of the id of ``run.started``;
span: first 8 bytes of the id of its first event), so the same journal gives the same spans, late
or live.
INVARIANT X161: what was said, asked with and answered leaves only with ``content``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from holdfast.engine.held import LEAVES
from holdfast.engine.history import History, Step
from holdfast.explain import conventions as names
from holdfast.explain.telling import Fetch, plain
from holdfast.explain.text import json_text
from holdfast.journal.events import Event, StepSettled, Verdict, body_of
from holdfast.journal.views import SCORE
from holdfast.values.spans import Link, Mark, Place, Span

_MS = 1_000_000


class Edge(msgspec.Struct, frozen=True):
    """What a step's arguments came from: position in the chain, and how it is known (``carried``,
    ``saw``, ``caused``)."""

    pos: int
    grade: str
    path: str = ""


Edges = Callable[[Sequence[Event]], Iterable[Edge]]
"""Gives the sources of the step that the last event of a chain settles."""


class Look(msgspec.Struct, frozen=True):
    """How spans are made. ``fetch`` reads blobs; ``content``: what was said and asked with leaves
    too; ``openinference``: its keys beside; ``edges``: sources of steps that leave the world, as
    links."""

    fetch: Fetch
    content: bool = False
    openinference: bool = False
    edges: Edges | None = None


class Around(msgspec.Struct):
    """What stands around a run: the span of the step that spawned it; the places of the events that
    a fork shares with its source, by position."""

    parent: Place | None = None
    source: dict[int, Place] = {}


class _Open(msgspec.Struct):
    """A span that has begun."""

    id: str
    start: int
    marks: list[Mark] = []
    attributes: dict[str, Any] = {}
    links: list[Link] = []


class Trail:
    """Turns the events of one run's chain, oldest first, into spans. ``places``: the span of each
    event by position; ``steps``: of each step by key, with the time it began."""

    def __init__(self, run: str, around: Around, look: Look) -> None:
        self.run = run
        self.places: dict[int, Place] = dict(around.source)
        self.steps: dict[str, tuple[int, Place]] = {}
        self._around = around
        self._look = look
        self._history = History()
        self._open: dict[str, _Open] = {}
        self._root: _Open | None = None
        self._trace = ""
        self._name = ""
        self._ended = False
        self._last = 0
        self._edges: Iterable[Edge] = ()

    def leaves(self, event: Event) -> bool:
        """Whether this event, the next one, settles a tool's step that leaves the world."""
        if event.run != self.run or event.kind != "step.settled":
            return False
        body = body_of(event)
        known = self._history.steps.get(body.key)
        plan = body.plan or (known.plan if known is not None else None)
        return plan is not None and plan.kind == "tool" and plan.effect in LEAVES

    def take(self, event: Event, sources: Iterable[Edge] = ()) -> list[Span]:
        """The spans that this event ends. ``sources``: of the step that it settles."""
        self._edges = sources
        body = body_of(event)
        left: list[Span] = []
        if event.kind == "run.started" and not body.fork_of:
            left = self._unsettled()
            self._history = History()
        self._history.add(event, body)
        if event.run != self.run:
            return []
        self._last = event.at * _MS
        return left + self._taken(event, body)

    def _taken(self, event: Event, body: Any) -> list[Span]:
        if event.kind == "run.started":
            self._begin(event, body)
        if self._root is None:
            return []  # no run of a program: the store's own
        opened = self._step(event, body)
        self.places[event.pos] = Place(self._trace, opened.id if opened else self._root.id)
        match event.kind:
            case "step.settled" if opened is not None:
                return [self._settled(event, body, opened)]
            case "run.ended":
                self._ended = True
                self._root.attributes["holdfast.run.status"] = body.status
                failed = body.error.type if body.error else "" if body.status == "done" else "run"
                note = body.error.text if body.error else ""
                if self._look.content:
                    self._root.attributes |= self._payload("output", event.value)
                return [self._run(failed, note)]
            case "finding.added" if body.type == SCORE:
                return [self._score(event, body.about, body.by)]
            case "signal.received" | "branch.merged":
                mark = _signal(event, body)
                (opened or self._root).marks.append(mark)
            case _:
                pass
        return []

    def rest(self) -> list[Span]:
        """The spans of what has not ended, as far as it came: steps, and the run.

        INVARIANT X162: with them, the parent of every span is there, or the span is a root.
        """
        if self._root is None:
            return []
        left = self._unsettled()
        if self._ended:
            return left
        self._root.attributes["holdfast.run.status"] = "open"
        return [*left, self._run("", "")]

    def _unsettled(self) -> list[Span]:
        found: list[Span] = []
        for key, opened in self._open.items():
            plan = self._history.step(key).plan
            opened.attributes |= {"holdfast.run": self.run, "holdfast.step": key,
                                  "holdfast.status": "open"}  # fmt: skip
            name = f"{plan.kind} {plan.name}" if plan else f"step {key}"
            root = self._root.id if self._root else ""
            found.append(self._span(opened, name, self._last, "", "", root, op=""))
        self._open.clear()
        return found

    # The run ------------------------------------------------------------------------------------

    def _begin(self, event: Event, body: Any) -> None:
        if self._root is not None:
            self._root.marks.append(
                Mark("holdfast.segment", event.at * _MS, {"holdfast.segment": body.segment})
            )
            return
        parent = None if body.fork_of else self._around.parent
        self._trace = parent.trace if parent else event.id[:32]
        self._name = body.agent
        self._root = _Open(event.id[:16], event.at * _MS, [], {}, [])
        self._root.attributes = {
            "gen_ai.operation.name": names.AGENT,
            "gen_ai.agent.name": body.agent,
            "gen_ai.conversation.id": self.run,
            "holdfast.run": self.run,
            "holdfast.journal.hash": event.id,
        }
        if body.code:
            self._root.attributes["gen_ai.agent.version"] = body.code[:12]
        if body.policy:
            self._root.attributes["holdfast.policy"] = body.policy[:12]
        if self._look.openinference:
            self._root.attributes |= {"session.id": self.run, "agent.name": body.agent}
        if self._look.content:
            self._root.attributes |= self._payload("input", event.args)
        if body.fork_of:
            self._root.attributes["holdfast.fork.of"] = f"{body.fork_of}#{body.fork_pos}"
            if to := self._around.source.get(body.fork_pos):
                self._root.links.append(Link(to, {"holdfast.fork.pos": body.fork_pos}))

    def _run(self, error: str, note: str) -> Span:
        root, parent = self._root, self._around.parent
        assert root is not None
        nested = parent is not None and parent.trace == self._trace
        return self._span(root, f"{names.AGENT} {self._name}", self._last, error, note,
                          parent=parent.span if parent and nested else "")  # fmt: skip

    def _score(self, event: Event, about: int, by: str) -> Span:
        value = plain(event.value, self._look.fetch)
        told: dict[str, Any] = value if isinstance(value, dict) else {}
        attributes: dict[str, Any] = {"gen_ai.evaluation.name": by or SCORE}
        score, good = told.get("score"), told.get("good")
        if isinstance(score, int | float) and not isinstance(score, bool):
            attributes["gen_ai.evaluation.score.value"] = float(score)
        if isinstance(good, bool):
            attributes["gen_ai.evaluation.score.label"] = "pass" if good else "fail"
        if self._look.content and told.get("note"):
            attributes["gen_ai.evaluation.explanation"] = str(told["note"])
        at = event.at * _MS
        assert self._root is not None
        around = self.places.get(about, Place(self._trace, self._root.id))
        mine = around if around.trace == self._trace else Place(self._trace, self._root.id)
        opened = _Open(event.id[:16], at, [Mark(names.EVALUATION, at, attributes)], {}, [])
        opened.attributes = {"holdfast.run": self.run, "holdfast.journal.hash": event.id}
        self.places[event.pos] = Place(self._trace, opened.id)
        return self._span(opened, "evaluation", at, "", "", parent=mine.span, op=names.EVALUATION)

    # Steps --------------------------------------------------------------------------------------

    def _step(self, event: Event, body: Any) -> _Open | None:
        """The span of the step that an event is about, begun if it is new."""
        key = "" if event.kind == "checkpoint.signed" else getattr(body, "key", "")
        if not key:
            return None
        opened = self._open.get(key)
        if opened is None:
            known = self.steps.get(key)
            if known is not None and event.kind in ("approval.given", "branch.merged"):
                return None  # late news of a step whose span has left
            took = body.took * 1000 if event.kind == "step.settled" else 0
            opened = _Open(event.id[:16], event.at * _MS - took, [], {}, [])
            self._open[key] = opened
            self.steps[key] = (event.at, Place(self._trace, opened.id))
        opened.marks += _marks(event, body, content=self._look.content)
        return opened

    def _settled(self, event: Event, body: StepSettled, opened: _Open) -> Span:
        step = self._history.step(body.key)
        self._open.pop(body.key, None)
        plan = step.plan
        kind, name = (plan.kind, plan.name) if plan else ("step", body.key)
        found = opened.attributes
        found |= {
            "gen_ai.conversation.id": self.run,
            "holdfast.run": self.run, "holdfast.step": body.key, "holdfast.status": body.status,
            "holdfast.journal.hash": event.id,
        }  # fmt: skip
        if plan is not None:
            found["holdfast.effect"] = plan.effect
        if body.origin:
            found["holdfast.origin"] = body.origin
        if step.world_before != step.world_after and step.world_after:
            found["holdfast.world.before"] = step.world_before
            found["holdfast.world.after"] = step.world_after
        found |= {f"holdfast.usage.{unit}": used for unit, used in body.usage.items()}
        client, title, op = False, f"{kind} {name}", ""
        if kind == "model":
            client, op = True, names.CHAT
            title = f"{names.CHAT} {self._model(step, name, found)}"
        elif kind == "tool":
            op, title = names.TOOL, f"{names.TOOL} {name}"
            found |= {"gen_ai.tool.name": name, "gen_ai.tool.type": "function"}
            self._called(step, found)
        if op:
            found["gen_ai.operation.name"] = op
        opened.links += self._sources()
        failed = "" if body.status in ("value", "held") else body.status
        note = body.error.text if body.error else ""
        error = body.error.type if body.error and failed else failed
        end = max(opened.start, event.at * _MS)
        assert self._root is not None
        return self._span(opened, title, end, error, note, self._root.id, client=client, op=op)

    def _model(self, step: Step, name: str, found: dict[str, Any]) -> str:
        """Attributes of a model's answer; the name of the model."""
        provider, _, model = name.partition(".")
        asking = _read(step.args, names.Asking) or names.Asking(provider, model)
        answer = _read(step.value, names.Answer) or names.Answer()
        provider, model = asking.provider or provider, asking.model or model
        provider = names.PROVIDERS.get(provider, provider)
        found |= {"gen_ai.provider.name": provider, "gen_ai.request.model": model}
        request = asking.request if isinstance(asking.request, dict) else {}
        for parameter, known in names.REQUEST.items():
            if isinstance(value := request.get(parameter), int | float):
                found[known] = value
        response = answer.response if isinstance(answer.response, dict) else {}
        for field, known in (("model", "gen_ai.response.model"), ("id", "gen_ai.response.id")):
            if isinstance(value := response.get(field), str) and value:
                found[known] = value
        if answer.finish:
            found["gen_ai.response.finish_reasons"] = (answer.finish,)
        if answer.first_ms is not None:
            found["gen_ai.response.time_to_first_chunk"] = answer.first_ms / 1000
        if answer.usage is not None:
            found |= names.tokens(answer.usage, also=self._look.openinference)
        if self._look.openinference:
            found |= {"llm.model_name": model, "llm.provider": provider}
        if self._look.content:
            args, value = plain(step.args, self._look.fetch), plain(step.value, self._look.fetch)
            said = names.messages(args.get("request") if isinstance(args, dict) else None)
            told = names.answers(value.get("response") if isinstance(value, dict) else None,
                                 answer.finish or "")  # fmt: skip
            found |= {"gen_ai.input.messages": json_text(said),
                      "gen_ai.output.messages": json_text(told)}  # fmt: skip
            self._inference(found, json_text(said), json_text(told))
        return model

    def _called(self, step: Step, found: dict[str, Any]) -> None:
        if self._look.openinference:
            found["tool.name"] = found["gen_ai.tool.name"]
        if self._look.content:
            args = json_text(plain(step.args, self._look.fetch))
            value = json_text(plain(step.value, self._look.fetch))
            found |= {"gen_ai.tool.call.arguments": args, "gen_ai.tool.call.result": value}
            self._inference(found, args, value)

    def _inference(self, found: dict[str, Any], given: str, came: str) -> None:
        """OpenInference's words for what went in and came out."""
        if self._look.openinference:
            found |= {"input.value": given, "input.mime_type": "application/json",
                      "output.value": came, "output.mime_type": "application/json"}  # fmt: skip

    def _payload(self, which: str, skeleton: bytes | None) -> dict[str, Any]:
        if skeleton is None:
            return {}
        text = json_text(plain(skeleton, self._look.fetch))
        found = {f"holdfast.{which}": text}
        if self._look.openinference:
            found |= {f"{which}.value": text, f"{which}.mime_type": "application/json"}
        return found

    def _sources(self) -> list[Link]:
        return [
            Link(self.places[edge.pos], {"why.edge": edge.grade}
                 | ({"why.path": edge.path} if edge.path else {}))
            for edge in self._edges
            if edge.pos in self.places
        ]  # fmt: skip

    def _span(
        self, opened: _Open, name: str, end: int, error: str, note: str, parent: str = "", *,
        client: bool = False, op: str = names.AGENT,
    ) -> Span:  # fmt: skip
        attributes = dict(opened.attributes)
        if error:
            attributes["error.type"] = error
        if self._look.openinference:
            attributes["openinference.span.kind"] = names.KINDS.get(op, "CHAIN")
        return Span(
            Place(self._trace, opened.id), parent, name, opened.start, end, client, error,
            note if self._look.content else "", attributes, tuple(opened.marks),
            tuple(opened.links),
        )  # fmt: skip


def _marks(event: Event, body: Any, *, content: bool) -> list[Mark]:
    """What an event of a step adds to its span."""
    at, found = event.at * _MS, []
    verdict: Verdict | None = getattr(body, "verdict", None)
    if verdict is not None:
        attributes: dict[str, Any] = {"holdfast.decision": verdict.decision}
        attributes |= {
            f"holdfast.{name}": value
            for name, value in (
                ("observed", verdict.observed), ("rules", verdict.rules),
                ("policy", verdict.policy), ("risk", verdict.risk),
                ("reason", verdict.reason if content else ""),
            ) if value
        }  # fmt: skip
        found.append(Mark("holdfast.verdict", at, attributes))
    if event.kind == "step.planned" and body.failed is not None:
        told = {"holdfast.attempt": body.attempt, "error.type": body.failed.type}
        found.append(Mark("holdfast.attempt", at, told))
    if event.kind == "approval.asked":
        told = {"holdfast.about": body.about, "holdfast.needs": body.needs}
        found.append(Mark("holdfast.approval.asked", at, told))
    if event.kind == "approval.given":
        told = {"holdfast.decision": body.decision, "holdfast.by": body.by}
        found.append(Mark("holdfast.approval.given", at, told))
    return found


def _signal(event: Event, body: Any) -> Mark:
    if event.kind == "signal.received":
        return Mark("holdfast.signal", event.at * _MS, {"holdfast.signal": body.name})
    told = {"holdfast.merge.source": body.source, "holdfast.merge.conflicts": body.conflicts}
    return Mark("holdfast.merge", event.at * _MS, told)


def _read(skeleton: bytes | None, form: type[Any]) -> Any:
    """A skeleton in a form; None if it is none (erased, or not made by us)."""
    try:
        return None if skeleton is None else msgspec.json.decode(skeleton, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
