"""Running commands inside walls, asynchronously: the door of this room.

Each sandbox has a socket of its own between this process and the sandbox's first process, and a
descriptor of that process; the helper only forks. Output comes straight through pipes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.sandbox.doorway import Doorway
from holdfast.sandbox.output import Output
from holdfast.sandbox.plan import OnOutput, clean_environment, inside, plan_of, with_proxy
from holdfast.sandbox.probe import probe
from holdfast.sandbox.proxy import Proxy
from holdfast.sandbox.spec import TIERS, Ended, Folder, Limits, Overlay, Spec, Tier
from holdfast.values.errors import Misuse, Outside, Refused

_PACKAGES = str(Path(__file__).parents[2])
_START = (
    "import sys; sys.path.append(sys.argv[1]); from holdfast.sandbox import forker; "
    "forker.main(int(sys.argv[2]))"
)
_MESSAGE = 64 * 1024
_NEEDED = (
    (os, "memfd_create"), (os, "pipe2"), (os, "pidfd_open"), (signal, "pidfd_send_signal"),
    (socket, "MSG_CMSG_CLOEXEC"), (socket, "SOCK_SEQPACKET"),
)  # fmt: skip


class Opened:
    """A world held open: its namespaces and mounts stay until `close`. Made by `Sandbox.open`.

    Commands run in it one after another; nothing that one leaves running or in /tmp survives
    it. ``at`` is where they see the world.
    """

    def __init__(
        self,
        channel: socket.socket,
        process: int,
        *,
        tier: Tier,
        at: str,
        left: Callable[[Opened], None],
    ) -> None:
        self.tier: Tier = tier
        self._left = left
        self.at = at
        self._channel, self._process = channel, process
        self._turn = asyncio.Lock()
        self._proxy: Proxy | None = None
        self._doors: list[Doorway] = []
        self._environment = clean_environment(alone=tier == "namespaces")

    async def let_out(self, proxy: Proxy) -> None:
        """Serve the sandbox's only way out, on a socket that its first process has made."""
        port, listening = await self._listening()
        await proxy.start(listening)
        self._proxy = proxy
        self._environment |= with_proxy(port)

    async def let_in(self, ports: tuple[int, ...]) -> None:
        """Lead to ports of this host's loopback, from sockets made inside."""
        for _ in ports:
            port, listening = await self._listening()
            door = Doorway(port)
            self._doors.append(door)
            await door.open(listening)

    async def _listening(self) -> tuple[int, socket.socket]:
        """A socket that the sandbox's first process has made, and its port."""
        await _readable(self._channel.fileno())
        message, fds, _, _ = socket.recv_fds(self._channel, _MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        told = _told(message)
        listening = socket.socket(fileno=fds[0])
        listening.setblocking(False)
        return told["ready"], listening

    async def run(
        self,
        command: tuple[str, ...],
        *,
        cwd: str = "",
        environment: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        on_output: OnOutput | None = None,
    ) -> Ended:
        """Run one command to its end, with every process that it started.

        ``on_output`` gets "stdout" or "stderr" and bytes as they come. Cancelling this closes the
        world, which ends the command. Raises Outside if the sandbox could not be made
        or died, Misuse if it has been closed.
        """
        limits = limits or Limits()
        given = {**self._environment, **(environment or {}), **(secrets or {})}
        order = {"command": command, "cwd": inside(self.at, cwd), "environment": given,
                 "limits": dataclasses.asdict(limits)}  # fmt: skip
        async with self._turn:
            if self._process < 0:
                raise Misuse("this world has been closed: open it again")
            output = Output(limits.output_bytes, on_output)
            try:
                with output.pipes() as ends:
                    _send(self._channel, order, ends)
                told = await self._answer()
                output.finish()
            except BaseException:
                output.close()
                await self.close()
                raise
        stdout, stderr, cut = output.kept()
        told["limit"] = told["limit"] or ("output" if cut else "")
        told["refused"] = (*told["refused"], *(self._proxy.taken() if self._proxy else ()))
        return Ended(stdout=stdout, stderr=stderr, cut=cut, tier=self.tier, **told)

    async def _answer(self) -> dict[str, Any]:
        try:
            return _told(await asyncio.get_running_loop().sock_recv(self._channel, _MESSAGE))
        except ConnectionResetError:
            return _told(b"")

    async def close(self) -> None:
        """End everything in it and take its mounts away; done when nothing is left of it."""
        if self._process < 0:
            return
        process, self._process = self._process, -1
        self._left(self)
        if self._proxy is not None:
            await self._proxy.close()
        for door in self._doors:
            await door.close()
        if self.tier == "namespaces":  # its first process takes all others with it
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        self._channel.close()  # else it ends them, and then itself
        await asyncio.shield(asyncio.ensure_future(_ended(process)))

    async def __aenter__(self) -> Opened:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Sandbox:
    """Walls for commands. An async context manager; leaving it ends whatever still runs.

    ``least`` is the weakest tier that will do, ``most`` the strongest to use. Weaker walls than
    ``least`` are never used: Refused. ``python`` runs the helper, as ``user`` if that is given
    (only root may).
    """

    def __init__(
        self,
        *,
        least: Tier = "namespaces",
        most: Tier = "namespaces",
        unsafe: bool = False,
        python: str = sys.executable,
        user: int | None = None,
    ) -> None:
        self._least: Tier = least
        self._most: Tier = most
        self._unsafe = unsafe
        self._python, self._user = python, user
        self._helper: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._turn = asyncio.Lock()
        self._open: set[Opened] = set()
        self._tier: Tier | None = None

    async def run(self, spec: Spec, on_output: OnOutput | None = None) -> Ended:
        """Run one command in a sandbox of its own, of which nothing is left afterwards."""
        opened = await self.open(
            spec.world, at=spec.at, readable=spec.readable, hidden=spec.hidden,
            network=spec.network, doors=spec.doors, limits=spec.limits,
        )  # fmt: skip
        try:
            return await opened.run(
                spec.command, cwd=spec.cwd, environment=spec.environment, secrets=spec.secrets,
                limits=spec.limits, on_output=on_output,
            )  # fmt: skip
        finally:
            await opened.close()

    async def open(
        self,
        world: Overlay | Folder,
        *,
        at: str = "/world",
        readable: tuple[str, ...] = (),
        hidden: tuple[str, ...] = (),
        network: tuple[str, ...] = (),
        doors: tuple[int, ...] = (),
        limits: Limits | None = None,
    ) -> Opened:
        """Open a world for several commands; see `Spec` for the arguments. Close what you open.

        Returns before the walls stand: that they could not be made is told by the first command.
        """
        tier = self._tier or await self.tier()
        proxy = Proxy(network) if network else None
        plan = plan_of(
            world, tier=tier, at=at, readable=readable, hidden=hidden, network=bool(network),
            limits=limits or Limits(), doors=doors,
        )  # fmt: skip
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.setblocking(False)
        try:
            async with self._turn:
                control = self._helped()
                _send(control, plan, (theirs.fileno(),))
                theirs.close()
                process = await _process(control)
        except BaseException:
            mine.close()
            theirs.close()
            raise
        opened = Opened(mine, process, tier=tier, at=plan["at"], left=self._open.discard)
        self._open.add(opened)
        try:
            if proxy is not None:
                await opened.let_out(proxy)
            await opened.let_in(plan["doors"])
        except BaseException:
            await opened.close()
            raise
        return opened

    async def tier(self) -> Tier:
        """The tier that commands get here. Refused: this host has none that is strong enough."""
        lacks = [name for home, name in _NEEDED if not hasattr(home, name)]
        if lacks or not sys.platform.startswith("linux"):
            said = f"{sys.platform}: no {lacks[0]}" if lacks else sys.platform
            raise Refused(
                f"commands in worlds run on Linux only (this is {said}): use Linux, or a virtual "
                "machine with it", rule="sandbox",
            )  # fmt: skip
        rank = TIERS.index
        host = await asyncio.to_thread(probe)
        found = TIERS[max(rank(host.tier), rank(self._most))]
        lacking = host.lacking(self._least)
        reason = f"{lacking.name}: {lacking.found}; {lacking.fix}" if lacking else "not asked for"
        if rank(found) > rank(self._least):
            raise Refused(
                f"walls of tier {self._least!r} do not stand on this host ({reason}); "
                "`holdfast doctor` says more", rule="sandbox",
            )  # fmt: skip
        if found == "none" and not self._unsafe:
            raise Refused(
                "no walls stand on this host, so nothing is run: fix what `holdfast doctor` names, "
                "or say unsafe=True to run without any", rule="sandbox",
            )  # fmt: skip
        self._tier = found
        return found

    def _helped(self) -> socket.socket:
        """The socket to a living helper."""
        if self._control is not None and self._helper is not None and self._helper.poll() is None:
            return self._control
        self._let_go()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        with theirs:
            self._helper = subprocess.Popen(
                [self._python, "-I", "-S", "-c", _START, _PACKAGES, str(number)],
                pass_fds=(number,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                cwd="/", env={}, user=self._user,
                group=self._user, extra_groups=None if self._user is None else [],
            )  # fmt: skip
        mine.setblocking(False)
        self._control = mine
        return mine

    def _let_go(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._helper is not None:
            self._helper.wait()  # it ends when its socket is closed
        self._control = self._helper = None

    async def close(self) -> None:
        """End everything that still runs."""
        for opened in tuple(self._open):
            await opened.close()
        self._open.clear()
        self._let_go()

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _send(channel: socket.socket, order: Mapping[str, Any], fds: tuple[int, ...]) -> None:
    """An order of any length, in a file without a name, with descriptors."""
    number = os.memfd_create("order", os.MFD_CLOEXEC)
    try:
        os.write(number, json.dumps(order).encode())
        with suppress(BrokenPipeError):  # it has ended: the answer will say so
            socket.send_fds(channel, [b"order"], [number, *fds])
    finally:
        os.close(number)


async def _process(control: socket.socket) -> int:
    """The descriptor of a process that the helper has forked."""
    await _readable(control.fileno())
    message, fds, _, _ = socket.recv_fds(control, _MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
    if not message:
        raise Outside("the helper of the sandbox ended", retryable=True)
    if not fds:
        raise Outside(f"no sandbox could be made: {json.loads(message)['failed']}")
    return fds[0]


def _told(message: bytes) -> dict[str, Any]:
    """What the sandbox said. Outside: that it could not be made, or nothing any more."""
    if not message:
        raise Outside("the sandbox was ended from outside", retryable=True)
    told = json.loads(message)
    if "failed" in told:
        raise Outside(f"no sandbox could be made: {told['failed']}")
    return told


async def _readable(number: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(number, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(number)


async def _ended(process: int) -> None:
    try:
        await _readable(process)
    finally:
        os.close(process)
