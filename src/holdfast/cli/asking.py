"""Asking the person at this terminal, while runs go on and others may answer first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from holdfast.cli.refs import value_of
from holdfast.cli.screen import Screen
from holdfast.explain.text import one_line
from holdfast.journal.events import ApprovalAsked
from holdfast.journal.views import Wait

_YES = ("a", "approve", "y", "yes")
_NO = ("d", "deny", "n", "no")
_LATER = ("l", "later")


class Answer(msgspec.Struct, frozen=True):
    """What a person decided: approve, deny or answer; "" means: not now."""

    decision: str = ""
    value: Any = None
    note: str = ""


class Keyboard:
    """Lines typed at the terminal, without blocking the event loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()

    def _ready(self) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            try:
                chunk = os.read(self._descriptor, 4096)
            except OSError:
                chunk = b""
            if not chunk:
                self._lines.put_nowait(None)
                return
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._lines.put_nowait(line.decode("utf-8", "replace").strip())

    async def line(self) -> str | None:
        """The next line; None at the end of input (Ctrl-D)."""
        while not self._lines.empty():  # typed before the question was shown: not an answer to it
            self._lines.get_nowait()
        return await self._lines.get()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Take lines from the terminal meanwhile."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._descriptor, self._ready)
        try:
            yield
        finally:
            loop.remove_reader(self._descriptor)


def keyboard() -> Keyboard | None:
    """The keyboard, if somebody sits at one."""
    try:
        if sys.stdin.isatty() and sys.stderr.isatty():
            return Keyboard(sys.stdin.fileno())
    except (ValueError, OSError, AttributeError):
        pass
    return None


async def ask(
    screen: Screen, keys: Keyboard, run: str, wait: Wait, body: ApprovalAsked | None
) -> Answer:
    """Show a question until it is answered, put off, or this is cancelled."""
    choices = body.choices if body else ()
    screen.note((f"{run}@{wait.key} ", "bold"), one_line(wait.text))
    if body is not None and body.verdict is not None and body.verdict.rules:
        screen.note((f"  escalated by {', '.join(body.verdict.rules)}", "dim"))
    if wait.approvers:
        screen.note((f"  only {one_line(', '.join(wait.approvers))} may answer this", "dim"))
    for place, choice in enumerate(choices, 1):
        screen.note(f"  {place}. {one_line(choice)}")
    async with keys.listening():
        while True:
            screen.prompt(_prompt(wait, choices))
            typed = await keys.line()
            screen.prompting = typed is None
            if typed is None:
                return Answer()
            found = understand(wait.about, choices, typed)
            if isinstance(found, Answer):
                return found
            screen.note((f"  {found}", "yellow"))


def _prompt(wait: Wait, choices: tuple[str, ...]) -> str:
    if wait.about == "action":
        return "  approve, deny [why] or later? "
    if wait.about == "unknown":
        return "  approve (do it now), result VALUE (it happened), deny, or later? "
    what = "choice" if choices else "answer"
    return f"  {what} (/deny [why], /later): "


def understand(about: str, choices: tuple[str, ...], typed: str) -> Answer | str:
    """What a line means, or what is wrong with it."""
    word, _, rest = typed.partition(" ")
    rest = rest.strip()
    if about == "question":
        return _question(choices, typed, word, rest)
    match word.lower():
        case word if word in _YES:
            return Answer("approve", note=rest)
        case word if word in _NO:
            return Answer("deny", note=rest)
        case word if word in _LATER:
            return Answer()
        case "result" | "r" if about == "unknown":
            return Answer("answer", value_of(rest) if rest else None)
        case "":
            return "say approve, deny or later"
        case _:
            return f"{one_line(typed)[:40]!r} is not understood"


def _question(choices: tuple[str, ...], typed: str, word: str, rest: str) -> Answer | str:
    if word == "/deny":
        return Answer("deny", note=rest)
    if word == "/later":
        return Answer()
    if not typed:
        return "say something, /deny or /later"
    if not choices:
        return Answer("answer", value_of(typed))
    if typed in choices:
        return Answer("answer", typed)
    if typed.isdecimal() and 1 <= int(typed) <= len(choices):
        return Answer("answer", choices[int(typed) - 1])
    return f"choose 1 to {len(choices)}, or the words"
