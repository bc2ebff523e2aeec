"""Starting a command on a leash (`holdfast.sandbox.leash`) or inside walls, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.sandbox.client import Sandbox
from holdfast.sandbox.spec import Folder, Limits, Spec
from holdfast.tools.workplace import interpreter
from holdfast.values import limits
from holdfast.values.errors import Outside

_PACKAGES = str(Path(__file__).parents[2])
_START = (
    "import sys; sys.path.append(sys.argv[1]); from holdfast.sandbox import leash; "
    "leash.main(int(sys.argv[2]), sys.argv[4:], group=sys.argv[3] == 'group')"
)
PROGRAMS = (*interpreter(), _PACKAGES)
"""What a command inside walls must read, to reach the door for MCP servers."""


class Done(NamedTuple):
    """How a command ended. ``code``: its exit code, as shells say it; ``limit``: what ended or
    curbed it; ``refused``: what walls turned away; ``walls``: the tier of them, "" for none."""

    code: int
    limit: str = ""
    refused: tuple[str, ...] = ()
    walls: str = ""


class Signals:
    """What this process is asked while a command runs, and passes on to it. A command that is asked
    to end (not: interrupted) is killed if it is still there after a while, or asked again.
    ``terminal``: Ctrl-C there reaches the command by itself."""

    def __init__(self, *, terminal: bool) -> None:
        self.asked = 0
        self._terminal = terminal
        self._send: Callable[[int], None] | None = None
        self._later: asyncio.TimerHandle | None = None

    def take(self, number: int) -> None:
        """A signal came."""
        if number == signal.SIGINT and self._terminal:
            return
        again = self.asked and self.asked != signal.SIGINT
        self.asked = number
        if self._send is None:
            return
        # INVARIANT D84: whoever asks twice is obeyed, whatever the command does with TERM
        self._send(signal.SIGKILL if again else number)
        if number != signal.SIGINT and self._later is None:
            loop, send = asyncio.get_running_loop(), self._send
            self._later = loop.call_later(limits.LEAVE_SECONDS, send, signal.SIGKILL)

    def lead(self, send: Callable[[int], None] | None) -> None:
        """From now on they go there (None: nowhere)."""
        self._send = send
        if send is None and self._later is not None:
            self._later.cancel()
        elif send is not None and self.asked:
            send(self.asked)


async def on_leash(
    words: tuple[str, ...], place: Path, env: Mapping[str, str], signals: Signals, *,
    terminal: bool, out: Any = None,
) -> Done:  # fmt: skip
    """Run a command with the rights of this process, at its streams (``out``: in place of standard
    output). At a terminal it stays in the group of this process, so that keys reach it."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _START, _PACKAGES, str(read),
            "one" if terminal else "group", *words, cwd=place, env=dict(env), stdout=out,
            pass_fds=(read,), start_new_session=not terminal,
        )  # fmt: skip
    except OSError as error:
        os.close(write)
        raise Outside(f"run: {words[0]} cannot be started: {error.strerror}") from None
    finally:
        os.close(read)

    def send(number: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has just ended
            os.write(write, bytes((number,)))

    signals.lead(send)
    try:
        return Done(await process.wait())
    finally:
        signals.lead(None)
        os.close(write)  # whatever is left of it ends now
        await process.wait()


async def in_walls(
    words: tuple[str, ...], place: Path, env: Mapping[str, str], signals: Signals, *,
    reach: Any, door: int, seconds: float, out: Callable[[str, bytes], None],
) -> Done:  # fmt: skip
    """Run a command in a sandbox that holds ``place``, at its own path. It reaches ``door`` of this
    host, and what ``reach`` (`holdfast.tools.attempts.Reach`) says. Asked to end, it is ended."""
    readable = tuple(dict.fromkeys((*PROGRAMS, *reach.readable)))
    spec = Spec(
        words, Folder(str(place)), at=str(place), environment=env, readable=readable,
        network=reach.network, doors=(door,),
        secrets={name: os.environ[name] for name in reach.secrets if name in os.environ},
        limits=Limits(seconds=seconds),
    )  # fmt: skip
    async with Sandbox() as walls:
        running = asyncio.ensure_future(walls.run(spec, on_output=out))

        def end(number: int) -> None:
            del number  # whatever is asked: nothing of it stays
            running.cancel()

        signals.lead(end)
        try:
            ended = await asyncio.shield(running)
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait([running])
            if not signals.asked:
                raise
            return Done(128 + signals.asked, walls="namespaces")
        finally:
            signals.lead(None)
    code = ended.exit if ended.exit >= 0 else 128 - ended.exit
    return Done(code, ended.limit, ended.refused, ended.tier)
