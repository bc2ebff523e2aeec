"""Answering the queue at a terminal, one question after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.cli.asking import Keyboard
from holdfast.cli.desk import Desk
from holdfast.cli.editing import declared, edited
from holdfast.cli.queue import show, tell_seeded
from holdfast.cli.refs import value_of
from holdfast.engine.answers import answer
from holdfast.engine.inbox import Open, Question, open_questions, question_of, review, reviews
from holdfast.engine.seeding import Seeded
from holdfast.explain.queue import review_document
from holdfast.explain.text import one_line, pretty
from holdfast.journal.store import Store
from holdfast.runtime.amending import rule_for
from holdfast.values.errors import HoldfastError, Misuse

_ACTION = (
    "  a [note]: approve, d [why]: deny, e NAME=VALUE ...: change, p: propose a rule, s: skip, "
    "q: quit  "
)
_OTHER = "  r VALUE: answer, d [why]: decline, s: skip, q: quit  "
_UNKNOWN = "  a: do it now, r VALUE: it happened, d: leave it unknown, s: skip, q: quit  "
_REVIEW = "  r [note]: right, w [note]: wrong, s: skip, q: quit  "


class Typed(msgspec.Struct, frozen=True):
    """What a line means: a decision, or skip, propose or quit."""

    word: str
    value: Any = None
    note: str = ""


async def go_through(desk: Desk, store: Store, keys: Keyboard) -> int:
    """Ask the person here everything that they may answer; how many they answered."""
    answered = 0
    seen: set[str] = set()
    while waiting := [
        one for one in await open_questions(store, desk.user) if one.wait.digest not in seen
    ]:
        found = waiting[0]
        seen.add(found.wait.digest)
        try:
            question = await question_of(store, found)
            show(desk, store, found, question)
            typed = await _typed(desk, keys, found, question)
            if typed is None:
                break
            if typed.word != "skip":
                await answer(
                    store, found.row.run, found.wait.key, typed.word, by=desk.user,
                    now_ms=desk.now_ms(), value=typed.value, note=typed.note,
                    digest=found.wait.digest,
                )  # fmt: skip
                answered += 1
        except Seeded as error:
            answered += 1
            tell_seeded(desk, error)
        except HoldfastError as error:  # answered, changed or expired meanwhile
            desk.screen.note((f"  {one_line(str(error))}", "yellow"))
    return answered


async def _typed(desk: Desk, keys: Keyboard, found: Open, question: Question) -> Typed | None:
    """What the person decides; None to quit."""
    about = found.wait.about
    prompt = {"action": _ACTION, "budget": _ACTION, "unknown": _UNKNOWN}.get(about, _OTHER)
    types = declared(desk, question)
    while True:
        line = await _line(desk, keys, prompt)
        try:
            typed = understand(about, line, question, types)
        except Misuse as error:
            desk.screen.note((f"  {one_line(str(error))}", "yellow"))
            continue
        if typed is None or typed.word != "propose":
            return typed
        desk.screen.patch(rule_for(desk.user, found, question).text())


async def _line(desk: Desk, keys: Keyboard, prompt: str) -> str | None:
    async with keys.listening():
        desk.screen.prompt(prompt)
        line = await keys.line()
        desk.screen.prompting = line is None
        return line


def understand(
    about: str, line: str | None, question: Question, types: Mapping[str, str]
) -> Typed | None:
    """What a line means; None to quit, `Misuse` if nothing."""
    if line is None:
        return None
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    match word.lower():
        case "q" | "quit":
            return None
        case "s" | "skip":
            return Typed("skip")
        case "d" | "deny":
            return Typed("deny", note=rest)
        case "a" | "approve" if about != "question":
            return Typed("approve", note=rest)
        case "e" | "edit" if about == "action":
            return Typed("edit", edited(question, rest.split(), types))
        case "p" | "propose" if about == "action":
            return Typed("propose")
        case "r" | "result" if about in ("question", "unknown"):
            value = value_of(rest) if rest else None
            choices = question.asked.choices
            if choices and isinstance(value, int) and 1 <= value <= len(choices):
                value = choices[value - 1]
            return Typed("answer", value)
        case _:
            raise Misuse(f"{line[:40]!r} is not understood")


async def look_back(desk: Desk, store: Store, keys: Keyboard) -> int:
    """Ask the person here about calls that happened; how many they looked at."""
    looked = 0
    for found in await reviews(store):
        desk.screen.say((found.place, "bold"), f"  {one_line(found.row.agent)}")
        desk.screen.say(pretty(review_document(found, store.get)))
        while True:
            line = await _line(desk, keys, _REVIEW)
            word, _, rest = (line or "q").partition(" ")
            opinion = {"r": "right", "w": "wrong", "right": "right", "wrong": "wrong"}.get(word)
            if opinion is not None:
                await review(
                    store, found.row.run, found.pos, opinion, by=desk.user,
                    now_ms=desk.now_ms(), note=rest.strip(),
                )  # fmt: skip
                looked += 1
            elif word in ("q", "quit"):
                return looked
            elif word not in ("s", "skip"):
                desk.screen.note((f"  {one_line(word)[:40]!r} is not understood", "yellow"))
                continue
            break
    return looked
