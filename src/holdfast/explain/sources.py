"""What a step could know: everything that came in before it, and how far it is to be believed."""

from __future__ import annotations

import functools
import itertools
import re
from bisect import bisect_right
from typing import Any, Final

from holdfast.explain import telling
from holdfast.explain.because import Origin
from holdfast.explain.chain import Chain, Found, Lost
from holdfast.explain.matching import Body
from holdfast.gate.folding import plain, squeezed
from holdfast.journal.events import Event
from holdfast.journal.views import CHILD, place_of
from holdfast.values import limits
from holdfast.values.errors import HoldfastError

MOST: Final = 200
"""Sources that are all compared closely."""
SIFTED: Final = 96
"""Of more, so many that hold most of what is looked for."""
OLDEST: Final = 100
NEWEST: Final = 400
"""Of more sources, results of which long content is read at first: the oldest and the newest. The
rest is read only if values are not found in these: each is content of its own to fetch."""
TITLE: Final = 80
"""Characters of a title."""
_NAMES: Final = re.compile(rb'{"\$(?:blob|raw)":"([0-9a-f]{64})"}')
_MODEL: Final = re.compile(rb'{"key":"[^"\\]*","plan":{"name":"[^"\\]*","kind":"model"[,}]')
"""How the body of an outcome begins that is surely a model's."""
_ODD: Final = (b'"kind":', b'"status":', b'"origin":')
_SILENT: Final = ("refused", "held", "expired")
_NO_SOURCE: Final = frozenset(("spawn", "fork", "transaction", "publish", "wait", "merge"))
"""Kinds of steps whose outcome is Holdfast's own."""


class Source:
    """One thing that came in: ``origin``, what it says, and what it had been asked with."""

    shown = ""
    """Where in a request it stood, of what only stood there."""
    intact = False
    """Whether all content that it refers to was read already: nothing of it is gone."""

    def __init__(self, chain: Chain, event: Event, kind: str) -> None:
        self.chain, self.event, self.kind = chain, event, kind

    @property
    def pos(self) -> int:
        """Position of the event that brought it."""
        return self.event.pos

    @functools.cached_property
    def step(self) -> Found | None:
        """The step that it is the outcome of."""
        return self.chain.step_at(self.pos) if self.event.kind == "step.settled" else None

    @functools.cached_property
    def value(self) -> Any:
        """What came in, `Lost` if it is gone."""
        if self.event.kind == "run.started":
            return self.chain.plain(self.event.args)
        body = self.chain.body(self.pos)
        error = getattr(body, "error", None)
        if error is not None:
            return f"{error.type}: {error.text}"
        return self.chain.plain(self.event.value)

    @functools.cached_property
    def body(self) -> Body:
        """Its texts."""
        root = self.shown or ("input" if self.event.kind == "run.started" else "result")
        return Body(root, None if isinstance(self.value, Lost) else self.value)

    @functools.cached_property
    def asked(self) -> Body:
        """The arguments of its step: what it was found by."""
        args = None if self.step is None else self.chain.args(self.step)
        return Body("args", None if isinstance(args, Lost) else args)

    @functools.cached_property
    def origin(self) -> Origin:
        """Where it comes from."""
        event, step = self.event, self.step
        integrity, confidentiality, by = _label(self)
        key = place_of(step.segment, step.key) if step is not None else ""
        place = f"{event.run}@{key}" if key else f"{event.run}@start"
        return Origin(
            place, self.kind, self._title(), event.run, key, event.pos, event.id, event.at,
            integrity, confidentiality, by,
        )  # fmt: skip

    def _title(self) -> str:
        step = self.step
        if step is None:
            body = self.chain.body(self.pos)
            who = f" given by {body.parent}@{body.parent_key}" if body.parent else ""
            return f"the input of {body.agent}{who}"
        if step.plan is None:
            return "a step"
        if self.kind == "person":
            return "a person's words"
        if self.kind == "child":
            return f"the end of {step.plan.name.removeprefix(CHILD)}"
        args = self.chain.args(step)
        if isinstance(args, Lost) or args is None or step.plan.kind in ("signal", "model"):
            return f"{step.plan.kind} {step.plan.name}"
        shown = ", ".join(f"{k}={v!r}" for k, v in list(_mapping(args).items())[:6])
        return telling.cut(telling.one_line(f"{step.plan.name}({shown})"), TITLE)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class Stood(Source):
    """A piece of what a model was shown, of which no step of the run brought anything in."""

    def __init__(self, chain: Chain, model: Found, text: str, role: str, at: str) -> None:
        super().__init__(chain, model.last, "context")
        self.text, self.role, self.model = text, role, model
        self.shown = at

    @functools.cached_property
    def value(self) -> Any:
        """The text."""
        return self.text

    @functools.cached_property
    def asked(self) -> Body:
        """Nothing is known of how it came."""
        return Body("", None)

    @functools.cached_property
    def origin(self) -> Origin:
        """Its place in the request."""
        words = {"system": "instructions", "user": "a message of role user", "tool":
                 "a tool's result that no door of ours saw"}  # fmt: skip
        title = f"{words.get(self.role, self.role)} in {self.shown}"
        event = self.model.last
        integrity = "untrusted" if self.role == "tool" else ""
        return Origin(self.model.place, "context", title, event.run, self.model.key, event.pos,
                      event.id, event.at, integrity)  # fmt: skip


def _label(source: Source) -> tuple[str, str, str]:
    event, body = source.event, source.chain.body(source.pos)
    if event.kind == "run.started":
        integrity, _, secret = body.label.partition("/")
        person = bool(body.by) and not body.parent and body.segment == 1
        return integrity or ("person" if person else ""), secret, body.by
    integrity, _, secret = body.label.partition("/")
    if source.kind in ("person", "answer"):
        integrity = integrity or "person"
    by = "edit" if body.origin == "edit" else ""
    if by:
        by = source.chain.started(source.pos).by
        return integrity or "person", secret, by
    return integrity, secret, by


def sources(chain: Chain, before: int) -> list[Source]:
    """Everything that came in before position ``before``, oldest first; outputs of models are no
    sources. Nothing is decoded yet."""
    # INVARIANT X220: an outcome is a tool's that was performed, told without decoding it, only if
    # neither its body nor the plan of its step holds a word that says otherwise (defaults are left
    # out of bodies)
    odd = {event.pos for word in _ODD for event in chain.holding(word)}
    keys = chain.keys_at
    kinded = {keys[event.pos] for event in chain.holding(_ODD[0])}
    found: list[Source] = []
    for event in chain.events[:before]:
        if event.kind == "step.settled":
            pos = event.pos
            if event.value is None and b'"error"' not in event.body:
                continue
            if pos not in odd and (keys[pos] not in kinded or b'"plan":' in event.body):
                found.append(Source(chain, event, "result"))
            elif (source := _outcome(chain, event)) is not None:
                found.append(source)
        elif event.kind == "run.started" and event.args is not None:
            body = chain.body(event.pos)
            kind = "edit" if body.fork_of else "input"
            found.append(Source(chain, event, kind))
    return found


def _outcome(chain: Chain, event: Event) -> Source | None:
    if _MODEL.match(event.body):
        return None
    step = chain.step_at(event.pos)
    if step.settled is None or step.settled.status in _SILENT or step.plan is None:
        return None
    if step.plan.kind == "model" or step.plan.kind in _NO_SOURCE:
        return None
    return Source(chain, event, _kind(step))


def _kind(step: Found) -> str:
    assert step.plan is not None
    assert step.settled is not None
    if step.settled.origin == "edit":
        return "edit"
    if step.plan.kind == "ask":
        return "person" if step.plan.name == "said" else "answer"
    if step.plan.kind == "signal":
        return "child" if step.plan.name.startswith(CHILD) else "signal"
    return "answer" if step.settled.origin == "person" else "result"


# ---- many sources ----------------------------------------------------------------------------


class Heap:
    """The texts of many sources as one, to find quickly which of them may hold a value.

    Text is compared without case, spaces and punctuation, so what is found may be no match; what is
    not found in it is none, but for other spellings (numbers in words, dates, encodings).
    """

    def __init__(self, chain: Chain, every: list[Source], *, whole: bool) -> None:
        newest = len(every) - NEWEST
        self.skipped = 0
        raw: list[bytes] = []
        for at, source in enumerate(every):
            found, more = _raw(chain, source, whole or at < OLDEST or at >= newest)
            raw.append(found)
            self.skipped += more
        # white space in texts is escaped, so a line is a source
        text = b"\n".join(raw).replace(b"\\n", b" ")
        # INVARIANT X223: names of content, which may hold any number, are no text of a source
        text = _NAMES.sub(b" ", text)
        self._text = squeezed(plain(text.decode("utf-8", "replace"))) + "\n"
        self._ends = list(itertools.accumulate(len(one) + 1 for one in self._text.split("\n")))
        self._ends.pop()
        assert len(self._ends) == len(every)

    def holding(self, needle: str, most: int) -> list[int]:
        """Numbers of the first ``most`` sources that hold it."""
        found: list[int] = []
        text, ends = self._text, self._ends
        at = text.find(needle) if needle else -1
        while at >= 0 and len(found) < most:
            number = bisect_right(ends, at)
            found.append(number)
            at = text.find(needle, ends[number])
        return found


def _raw(chain: Chain, source: Source, whole: bool) -> tuple[bytes, bool]:
    """The recorded bytes of a source on one line, with content that they refer to if ``whole``; and
    whether such content was skipped."""
    if isinstance(source, Stood):
        return source.text.replace("\n", " ").encode("utf-8", "replace"), False
    event = source.event
    found = (event.args if event.kind == "run.started" else event.value) or event.body
    if b'{"$' not in found:
        return found, False
    if not whole and source.kind == "result":
        return found, True
    pieces, names = [found], _NAMES.findall(found)
    marks, read = found.count(b'"$'), 0
    while names and len(pieces) < limits.FLOW_VALUE_ENTRIES:
        try:
            content = chain.fetch(names.pop().decode())
        except HoldfastError:
            continue  # what is gone is told by whoever looks closely
        read += 1
        pieces.append(content.replace(b"\n", b" "))
        if b'"$' in content:
            marks += content.count(b'"$')
            names += _NAMES.findall(content)
    # INVARIANT X221: only if each sign of a reference was one, and was read, nothing is gone
    source.intact = read == marks
    return b" ".join(pieces), False
