"""Launching a command: a run of its own, a copy of the directory, the doors, and what it left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from holdfast.engine import scope
from holdfast.engine.described import Described, journal_name
from holdfast.engine.guest import Guest
from holdfast.engine.receiving import receive
from holdfast.launch import clients, keys
from holdfast.launch.branch import Branch
from holdfast.launch.doors import Doors, Say
from holdfast.launch.leashed import Done, Signals, in_walls, on_leash
from holdfast.models.prices import Prices
from holdfast.proxy.upstream import Server
from holdfast.proxy.wire import Wire
from holdfast.proxy.wiring import Wiring, rules_of
from holdfast.runtime import Runtime
from holdfast.runtime.serving import served
from holdfast.tools.attempts import Reach
from holdfast.values import limits
from holdfast.values.errors import NotFound, ToolError
from holdfast.values.masking import MASK, masked
from holdfast.values.ports import SystemClock, SystemDice

PIPE = (sys.executable, "-P", "-m", "holdfast.cli", "mcp")
"""What stands in a client's file in place of a server's command."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is launched. ``words``: the command; ``directory`` is taken in without ``ignore``, and
    worked on below ``copies``; ``name``: the run's id; ``walls``: in a sandbox that reaches
    ``reach``, for ``seconds``;
    ``enforce``: the policy is; ``patience``: seconds that a call waits for a person; ``outside``:
    names of the project's MCP servers that may run outside of the walls."""

    words: tuple[str, ...]
    directory: str
    copies: str
    ignore: tuple[str, ...] = ()
    name: str = ""
    agent: str = ""
    role: str = ""
    enforce: bool = False
    walls: bool = False
    reach: Reach = Reach()
    seconds: float = 0.0
    patience: float = limits.PATIENCE_SECONDS
    outside: tuple[str, ...] = ()
    wiring: Wiring = Wiring()


class Streams(msgspec.Struct, frozen=True):
    """Where a command's output goes. ``terminal``: it has the keyboard; ``out``: in place of
    standard output (None: that); ``piece`` gets what comes out of walls."""

    terminal: bool
    out: Any
    piece: Callable[[str, bytes], None]


class Launched(msgspec.Struct, frozen=True):
    """What came of it: the run, how the command ended, whether the policy was ``enforced``, and
    whether the run stays open."""

    run: str
    done: Done
    enforced: bool
    open: bool = False


class Launch:
    """One launch on an open runtime. ``env``: the environment that the person gave."""

    def __init__(
        self, runtime: Runtime, wanted: Wanted, env: Mapping[str, str], signals: Signals,
        streams: Streams, say: Say,
    ) -> None:  # fmt: skip
        self._runtime, self._wanted, self._env = runtime, wanted, env
        self._signals, self._streams, self._say = signals, streams, say
        self._upstreams = keys.upstreams(env, wanted.wiring)
        trace = SystemDice().take(24)
        if wanted.enforce:
            clients.asking(wanted.words)  # what cannot be asked about is not begun
        self._trace = keys.traceparent(env.get("TRACEPARENT", ""), trace)
        self.run = ""
        self._fresh = True

    async def carry_out(self, begun: Callable[[str, bool], Any]) -> Launched:
        """Launch it and wait for its end. ``begun`` is awaited with the run's id, and whether it is
        a new one, before anything is started. `Refused` if the policy forbids the command,
        `Suspended` if a person has to decide about it; `ToolError` if what it left cannot be kept,
        with where it is."""
        guest = await self._guest()
        self.run = guest.id
        ended = False
        try:
            await begun(guest.id, self._fresh)
            async with AsyncExitStack() as stack:
                done, kept = await self._within(guest, stack)
            await self._keep(guest, kept)
            guest.result = {"exit": done.code}
            open_ = bool((await self._runtime.store.run(guest.id)).waits)
            if not open_:
                await guest.end(guest.result)
                ended = True
            return Launched(guest.id, done, not guest.observes, open_)
        finally:
            if not ended:
                await guest.leave()

    async def _guest(self) -> Guest:
        wanted, store = self._wanted, self._runtime.store
        root, known = "", False
        if wanted.name:
            try:
                known = bool(await store.run(wanted.name))
            except NotFound:
                known = False
        self._fresh = not known
        if not known:
            root = await self._runtime.take_in(Path(wanted.directory), wanted.ignore)
        given: dict[str, Any] = {
            "command": self._told(), "directory": wanted.directory, "ignore": list(wanted.ignore),
        }  # fmt: skip
        if request := clients.request_of(self._told()):
            given["request"] = request
        return await receive(
            self._runtime.host, wanted.agent or journal_name(clients.called(wanted.words)),
            door="launcher", name=wanted.name, role=wanted.role, given=given, world=root,
            observes=not wanted.enforce, by=self._runtime.settings.user,
        )  # fmt: skip

    def _told(self) -> list[str]:
        """The command as the journal has it: without what must not be in it."""
        secret = {one.key for one in self._upstreams.providers if one.key}
        found: list[str] = []
        for word in self._wanted.words:
            plain = word
            for one in secret:
                plain = plain.replace(one, MASK)
            found.append(masked(plain))
        return found

    # While it runs ------------------------------------------------------------------------------

    async def _within(self, guest: Guest, stack: AsyncExitStack) -> tuple[Done, str]:
        wanted, clock = self._wanted, SystemClock()
        branch = Branch(self._runtime, Path(wanted.directory), Path(wanted.copies), self._say)
        stack.push_async_callback(branch.close)
        rules = msgspec.structs.replace(rules_of(wanted.wiring), patience=wanted.patience)
        prices = Prices(wanted.wiring.prices)
        prices.load()
        wire = Wire(
            self._upstreams.providers, clock=clock, dice=SystemDice(), rules=rules, prices=prices,
            say=self._say,
        )  # fmt: skip
        doors = Doors(
            self._runtime, guest, wire, agent=clients.called(wanted.words), ask="client",
            patience=wanted.patience,
            free=not wanted.walls,
        )  # fmt: skip
        stack.push_async_callback(doors.close, limits.LEAVE_SECONDS)
        url = await stack.enter_async_context(served(doors))
        door = {keys.DOOR: url, keys.TOKEN: doors.token, keys.RUN: guest.id}

        project_at = Path(wanted.directory)

        def offer(name: str, server: Server, *, project: bool) -> Any:
            if project and wanted.walls and name not in wanted.outside:
                self._say(f"MCP server {name} is the project's: behind walls it is left out "
                          f"(--server {name} starts it outside of them)")  # fmt: skip
                return None
            if wanted.walls:  # not in the copy, where the command puts what it likes
                server = msgspec.structs.replace(server, cwd=str(project_at / server.cwd))
            words = [*PIPE, "--server", server.name, "--", server.name]
            return words, {keys.DOOR: url, keys.TOKEN: doors.offer(server)}

        # INVARIANT D90: a project's file, which anybody may have written, is filled in with what
        # the command has in its environment anyway: with no key that the launcher knows
        await branch.begin(
            guest, lambda name, server: offer(name, server, project=True),
            keys.without(self._env, self._upstreams), walls=wanted.walls,
        )  # fmt: skip
        home = None
        if not wanted.walls:
            home = await asyncio.to_thread(
                branch.home, Path(self._env.get("HOME") or Path.home()),
                lambda name, server: offer(name, server, project=False), self._env,
            )  # fmt: skip
        env = keys.environment(
            {} if wanted.walls else self._env, self._upstreams, url=url, token=doors.token
        )
        env |= door | {"TRACEPARENT": self._trace, "PWD": str(branch.path)}
        if home is not None:
            env["HOME"] = str(home)
        return await self._command(guest, branch, env, int(url.rpartition(":")[2]))

    async def _command(
        self, guest: Guest, branch: Branch, env: dict[str, str], door: int
    ) -> tuple[Done, str]:
        """The command as a step of the run."""
        wanted = self._wanted
        found: list[Done] = []

        async def perform(args: dict[str, Any]) -> dict[str, Any]:
            del args  # as the journal has them; secrets in them are only here
            begun = SystemClock().ticks_ns()
            done = await self._start(branch, env, door)
            found.append(done)
            seconds = (SystemClock().ticks_ns() - begun) / 1e9
            root = await branch.keep()
            return {**done._asdict(), "refused": list(done.refused), "world": root,
                    "seconds": round(seconds, 3)}  # fmt: skip

        tool = Described("launcher.command", perform, effect="idempotent")
        args: dict[str, Any] = {"command": self._told(), "sandbox": wanted.walls}
        if wanted.walls:
            args |= msgspec.to_builtins(wanted.reach)
        try:
            taken = await guest.step(tool, args, perform=perform, patience=wanted.patience)
        except ToolError as error:
            place = branch.leave_it()
            raise ToolError(f"{error}; the command's files are in {place}") from None
        guest.delivered(taken.key)
        said = taken.value
        done = found[-1] if found else Done(
            said["code"], said["limit"], tuple(said["refused"]), said["walls"]
        )  # fmt: skip
        return done, said["world"]

    async def _start(self, branch: Branch, env: dict[str, str], door: int) -> Done:
        wanted, streams = self._wanted, self._streams
        key = next((name for name, _ in keys.KEYS["openai"] if name in env), "")
        words = clients.led(wanted.words, env["OPENAI_BASE_URL"], key)
        if wanted.enforce:
            words = clients.asking(words)
        if wanted.walls:
            return await in_walls(
                words, branch.path, env, self._signals, reach=wanted.reach, door=door,
                seconds=wanted.seconds, out=streams.piece,
            )  # fmt: skip
        return await on_leash(
            words, branch.path, env, self._signals, terminal=streams.terminal,
            out=streams.out,
        )  # fmt: skip

    async def _keep(self, guest: Guest, root: str) -> None:
        """What it changed, as a step that changes the run's world."""
        if root == (await self._runtime.store.head(guest.id)).world:
            return

        async def perform(args: dict[str, Any]) -> None:
            scope.world_call().root = args["world"]

        tool = Described("launcher.keep", perform, effect="world")
        taken = await guest.step(
            tool, {"world": root}, perform=perform, patience=self._wanted.patience
        )
        guest.delivered(taken.key)
