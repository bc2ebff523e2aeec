"""Decisions of models and people, as inputs and outputs: what plain code could have made of them.

The input is the last message of a request (a person's, or a tool's result), read into fields; what
stays the same around it (model, instructions, menu of tools) is the decision's *site*.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from holdfast.explain.ledger import REUSED, used_by
from holdfast.journal.events import Event, Plan, RunStarted, StepSettled, body_of
from holdfast.journal.like import is_short, restore
from holdfast.journal.record import OWN
from holdfast.journal.views import place_of
from holdfast.values import limits
from holdfast.values.canon import decode, digest, encode, unpack
from holdfast.values.errors import Corrupt, HoldfastError

Fetch = Callable[[str], bytes]
Fields = dict[str, str | float]
"""What conditions look at: ``text`` is the whole input; numbers are floats."""

_TALKS = ("messages", "input", "contents")  # where requests have their conversation, by dialect
_ASIDE = frozenset({"stream", "stream_options", "metadata", "user", "prompt_cache_key"})
_LINE = re.compile(r"\s*([A-Za-z][A-Za-z0-9_ -]{0,40})\s*[:=]\s*(\S.*?)\s*$")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")  # longer ones are names, such as of accounts


class Decision(msgspec.Struct, gc=False):
    """One decision. ``began``: seq of its run's start, ``seq`` and ``at`` (ms) of its outcome;
    ``fields``: its input; ``output``: what was decided, as text; ``money``: millionths; ``took``:
    ms; ``leaves``: later in its run an effect left the world that cannot be repeated."""

    agent: str
    step: str
    site: str
    run: str
    place: str
    began: int
    seq: int
    at: int
    fields: Fields
    output: str
    money: int
    took: int
    leaves: bool = False


class _Run(msgspec.Struct):
    """A run while it is read: whole arguments of its steps by key, and since when people are asked;
    ``before``: its decisions, and those of runs that it spawned, that no effect has followed;
    ``above``: the run that spawned it, or that it forks from, whose decisions lead here too."""

    agent: str
    began: int
    above: str = ""
    fork: bool = False
    segment: int = 1
    args: dict[str, bytes] = msgspec.field(default_factory=dict)
    plans: dict[str, Plan] = msgspec.field(default_factory=dict)
    asked: dict[str, int] = msgspec.field(default_factory=dict)
    before: list[Decision] = msgspec.field(default_factory=list)


def decisions(events: Iterable[Event], fetch: Fetch) -> list[Decision]:
    """Every decision of models and every answer of people to questions, in the order of commits.
    Forks are left out, since they repeat what their source was asked."""
    runs: dict[str, _Run] = {}
    found: list[Decision] = []
    for event in events:
        if event.run in OWN:
            continue
        body = body_of(event)
        if isinstance(body, RunStarted):
            runs[event.run] = _begun(runs.get(event.run), event, body)
        elif event.run in runs:
            made = _next(runs, runs[event.run], event, body, fetch)
            if made is not None:
                found.append(made)
                runs[event.run].before.append(made)
    return found


def _begun(old: _Run | None, event: Event, body: RunStarted) -> _Run:
    """A run, or its next segment, which has step keys of its own."""
    run = _Run(body.agent, event.seq, body.fork_of or body.parent, bool(body.fork_of), body.segment)
    if old is not None:
        run.began, run.above, run.fork, run.before = old.began, old.above, old.fork, old.before
    return run


def _next(
    runs: dict[str, _Run], run: _Run, event: Event, body: Any, fetch: Fetch
) -> Decision | None:
    """Take in an event of a run; the decision that it settles, if it does."""
    if event.kind == "run.ended":
        run.args, run.plans = {}, {}
        if run.above in runs and not run.fork:
            runs[run.above].before += run.before
            run.before = []
        return None
    if event.kind not in ("step.planned", "step.settled", "approval.asked"):
        return None
    made = _took(run, event, body, fetch)
    plan = run.plans.get(body.key)
    acts = event.kind == "step.planned" or (
        event.kind == "step.settled" and body.status not in ("refused", "expired")
    )
    if plan is not None and plan.effect == "once" and acts:
        above: _Run | None = run
        for _ in range(limits.DEPTH_MAX):
            if above is None:
                break
            for one in above.before:
                one.leaves = True
            above.before.clear()
            above = runs.get(above.above)
    return None if run.fork else made


def _took(run: _Run, event: Event, body: Any, fetch: Fetch) -> Decision | None:
    key = body.key
    if event.args is not None:
        try:
            run.args[key] = restore(event.args, run.args.__getitem__)
        except (KeyError, Corrupt):
            if not is_short(event.args):
                raise
    if body.plan is not None:
        run.plans[key] = body.plan
    if event.kind == "approval.asked":
        run.asked.setdefault(key, event.at)
        return None
    plan = run.plans.get(key)
    if event.kind != "step.settled" or plan is None:
        return None
    if plan.kind not in ("model", "ask") or body.status != "value" or event.value is None:
        return None
    if body.origin in REUSED:
        return None
    try:
        return _decided(run, event, body, plan, fetch)
    except (HoldfastError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None  # erased, or not as decisions are written: nothing can be learned from it


def _decided(
    run: _Run, event: Event, body: StepSettled, plan: Plan, fetch: Fetch
) -> Decision | None:
    skeleton = msgspec.json.decode(run.args[body.key])
    value = unpack(event.value or b"null", fetch)
    if plan.kind == "ask":
        asked = unpack(run.args[body.key], fetch)
        site, text, output = digest(encode(asked.get("choices"))), asked["text"], answer(value)
        took = event.at - run.asked.get(body.key, event.at)
    else:
        if value.get("status") not in (200, None):
            return None
        site, said = _request(skeleton["request"], skeleton["model"])
        text = "\n".join(texts(unpack(msgspec.json.encode(said), fetch)))
        output, took = answer(value["response"]), body.took // 1000
    if not output or len(output) > limits.ECONOMIZE_ANSWER_CHARS:
        return None
    used = used_by(run.segment, event, body, plan)
    return Decision(
        run.agent, "ask" if plan.kind == "ask" else plan.name, site[:12], event.run,
        place_of(run.segment, body.key), run.began, event.seq, event.at, fields(text), output,
        used.money, took,
    )  # fmt: skip


def _request(request: dict[str, Any], model: str) -> tuple[str, Any]:
    """The site of a request, and its last message as it is stored."""
    where = next(name for name in _TALKS if name in request)
    talk = request[where]
    said = talk[-1] if isinstance(talk, list) else talk
    same = {key: value for key, value in request.items() if key not in (where, *_ASIDE)}
    # instructions stand first; as stored, equal ones are equal references
    first = talk[0] if isinstance(talk, list) and len(talk) > 1 else None
    told = isinstance(first, dict) and (
        first.get("role") in ("system", "developer") or "$blob" in first
    )
    same["instructions"] = first if told else None
    return digest(msgspec.json.encode([model, same], order="sorted")), said


def texts(value: Any) -> Iterator[str]:
    """The texts of a message or an answer, in whatever dialect, without thoughts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict) and value.get("type") not in ("thinking", "reasoning"):
        for key in ("text", "content", "output", "parts", "message", "choices", "candidates",
                    "result", "response"):  # fmt: skip
            found = value.get(key)
            if isinstance(found, str | list | dict) and not value.get("thought"):
                yield from texts(found)


def _calls(value: Any) -> Iterator[list[Any]]:
    """What an answer calls, as name and arguments."""
    if isinstance(value, list):
        for item in value:
            yield from _calls(item)
    elif isinstance(value, dict):
        given = next((value[key] for key in ("arguments", "input", "args") if key in value), None)
        if isinstance(value.get("name"), str) and given is not None:
            yield [value["name"], _plain(given)]
            return
        for item in value.values():
            if isinstance(item, list | dict):
                yield from _calls(item)


def _plain(text: Any) -> Any:
    try:
        return decode(text.encode()) if isinstance(text, str) else text
    except Corrupt:
        return text


def answer(response: Any) -> str:
    """What was decided, normalised: calls as JSON if there are any, else JSON that is written
    another way as it is written here, else the text without spare blanks."""
    calls = list(_calls(response)) if isinstance(response, dict) else []
    if calls:
        return encode({"calls": calls}).decode()
    if not isinstance(response, str | dict | list):
        return encode(response).decode()
    text = "\n".join(texts(response)).strip()
    read = _plain(text)
    return encode(read).decode() if isinstance(read, dict | list) else " ".join(text.split())


def fields(text: str) -> Fields:
    """An input as fields: those of a JSON object, or of lines ``name: value``; ``text``, all of it
    in small letters without spare blanks; and ``number``, if it has exactly one."""
    found: Fields = {}
    read = _plain(text) if text.lstrip().startswith("{") else None
    if isinstance(read, dict):
        _flatten(read, "", found)
    else:
        for line in text[: limits.ECONOMIZE_FIELD_CHARS].splitlines():
            match = _LINE.match(line)
            if match and len(found) < limits.ECONOMIZE_FIELDS_ITEMS:
                found.setdefault(match[1].lower(), _value(match[2]))
    found["text"] = normal(text)
    numbers = _NUMBER.findall(text[: limits.ECONOMIZE_FIELD_CHARS])
    if len(numbers) == 1:
        found.setdefault("number", float(numbers[0]))
    return found


def normal(text: str) -> str:
    """Text in small letters, with single blanks, as far as conditions look."""
    return " ".join(text[: limits.ECONOMIZE_FIELD_CHARS].lower().split())


def _value(text: str) -> str | float:
    return float(text) if _NUMBER.fullmatch(text) else normal(text)


def _flatten(value: dict[str, Any], path: str, found: Fields) -> None:
    for key, item in value.items():
        if len(found) >= limits.ECONOMIZE_FIELDS_ITEMS:
            return
        name = f"{path}{key}"
        if isinstance(item, dict) and path.count(".") < 3:
            _flatten(item, f"{name}.", found)
        elif isinstance(item, bool):
            found[name] = str(item).lower()
        elif isinstance(item, int | float):
            found[name] = float(item)
        elif isinstance(item, str):
            found[name] = _value(item)
