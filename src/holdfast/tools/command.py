"""What `world.run` is asked for and what it answers, as plain values."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence

from pydantic.dataclasses import dataclass

from holdfast.sandbox.plan import PATH
from holdfast.sandbox.spec import Ended
from holdfast.values.errors import Misuse

_NOTE = re.compile(r"(\n\[\.\.\. \d+ bytes cut \.\.\.\]\n)")


@dataclass(frozen=True)
class Result:
    """How a command ended. ``exit``: its code, negative for a signal (127: it is not found);
    ``timed_out``: it was killed at its time limit; ``cut``: bytes of output that were dropped from
    the middle; ``seconds``: wall time; ``sandbox``: the walls it ran in (namespaces, landlock or
    none); ``limit``: what ended or curbed it, "" if nothing did; ``refused``: what the walls turned
    away; ``left``: what it left that a world cannot hold (sockets and FIFOs);
    ``checkout``: how it saw the world: overlay, or copy and why no overlay can be mounted."""

    exit: int
    stdout: str
    stderr: str
    timed_out: bool = False
    cut: int = 0
    seconds: float = 0.0
    sandbox: str = ""
    limit: str = ""
    refused: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    checkout: str = ""


def result_of(
    ended: Ended, left: tuple[str, ...], secrets: dict[str, str], checkout: str = ""
) -> Result:
    """What is recorded of a command: output as text, with the secrets' names for their values."""
    cut = bool(ended.cut)
    return Result(
        ended.exit, _text(ended.stdout, secrets, cut), _text(ended.stderr, secrets, cut),
        ended.limit == "time", ended.cut, round(ended.seconds, 3), ended.tier, ended.limit,
        tuple(_hidden(line, secrets) for line in ended.refused),
        tuple(_hidden(line, secrets) for line in left), checkout,
    )  # fmt: skip


def _text(output: bytes, secrets: dict[str, str], cut: bool) -> str:
    text = _hidden(output.decode(errors="replace"), secrets)
    return _trimmed(text, secrets) if cut and secrets else text


def _trimmed(text: str, secrets: dict[str, str]) -> str:
    """Output without the parts of secrets that a cut left at its two sides.

    INVARIANT W43: no part of a secret's value is recorded, whole or cut.
    """
    pieces = _NOTE.split(text)
    for at in range(0, len(pieces) - 2, 2):
        head, tail = pieces[at].rstrip("\ufffd"), pieces[at + 2].lstrip("\ufffd")
        pieces[at] = head[: len(head) - _most(secrets, head.endswith, first=True)]
        pieces[at + 2] = tail[_most(secrets, tail.startswith, first=False) :]
    return "".join(pieces)


def _most(secrets: dict[str, str], holds: Callable[[str], bool], *, first: bool) -> int:
    """Length of the longest beginning (else end) of a secret, not all of it, that a side holds."""
    return max(
        (
            size
            for value in secrets.values()
            for size in range(1, len(value))
            if holds(value[:size] if first else value[-size:])
        ),
        default=0,
    )


def _hidden(text: str, secrets: dict[str, str]) -> str:
    for name, value in sorted(secrets.items(), key=lambda item: -len(item[1])):
        for shown in (value, repr(value)[1:-1]):  # names of files are shown quoted
            text = text.replace(shown, f"[{name}]")
    return text


def check_command(command: Sequence[str]) -> tuple[str, ...]:
    """The words of a command; `Misuse`."""
    if isinstance(command, str) or not command:
        raise Misuse("world.run: give the command as a list of words, such as ['pytest', '-q']")
    if any("\0" in word for word in command):
        raise Misuse("world.run: a word of a command cannot hold a NUL")
    return tuple(command)


def secrets_of(names: Sequence[str]) -> dict[str, str]:
    """The values of secrets, taken from this process's environment now; `Misuse`."""
    found = {name: os.environ.get(name, "") for name in names}
    for name, value in found.items():
        if not value:
            raise Misuse(
                f"world.run: secret {name!r} is not set in the environment of this process"
            )
    return found


def environment_of(given: dict[str, str] | None) -> dict[str, str]:
    """What a command finds in its environment, beyond what every one has: the programs of the
    running Python's environment come first."""
    return {"PATH": f"{sys.prefix}/bin:{PATH}", **(given or {})}
