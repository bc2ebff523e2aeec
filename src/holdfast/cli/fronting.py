"""What ``holdfast mcp`` does: from its options to a front that serves."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import stat
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from holdfast.cli.chatting import private, read_text
from holdfast.cli.desk import Desk
from holdfast.cli.failing import complain
from holdfast.cli.stopping import stoppable
from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.values.ids import check_name

_DOOR, OWN_DOOR = "mcp", "serve"


class Options(msgspec.Struct, frozen=True):
    """The options of the command, as given."""

    command: tuple[str, ...] = ()
    url: str = ""
    config: str = ""
    server: str = ""
    env: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    agent: str = ""
    name: str = ""
    policy: str = ""
    observe: bool = False
    ask: str = "client"
    patience: float = 0.0
    listen: str = ""
    token_file: str = ""


Offer = Callable[[Any, str], list[Any]]
"""Gives the servers for an agent, once there is a runtime."""


async def serve(desk: Desk, options: Options, own: Offer | None = None) -> int:
    """Serve until the client leaves, or this process is asked to stop; the exit code: that of its
    error if no server could be reached. ``own``: servers within this process, instead of those that
    the options name."""
    with stoppable(desk.screen) as stop:
        code = await _serve(desk, options, own, stop.asked)
    return stop.code or code


async def _serve(desk: Desk, options: Options, own: Offer | None, stop: asyncio.Event) -> int:
    door, token = os.environ.get("HOLDFAST_DOOR", ""), os.environ.get("HOLDFAST_TOKEN", "")
    if door and token and not options.listen and own is None:
        from holdfast.proxy.pipe import relay

        env = {name: os.environ[name] for name in options.env if name in os.environ}
        said = hello(options, env)
        _piped()
        await relay(door, token, said, stop)
        return 0
    _proxy("opening")
    servers = own or _named(options)
    check_name(options.agent, "agent")
    if options.listen:
        return await _listen(desk, options, servers, stop, _DOOR if own is None else OWN_DOOR)
    _piped()
    from holdfast.proxy.opening import fronted
    from holdfast.proxy.terminal import serve as serve_here

    async with (
        _runtime(desk, options) as runtime,
        fronted(runtime, servers(runtime, options.agent), agent=options.agent, name=options.name,
                ask=options.ask, patience=options.patience, observes=options.observe,
                door=_DOOR if own is None else OWN_DOOR) as front,
    ):  # fmt: skip
        front.say = complain
        await serve_here(front, stop)
    if len(front.failed) == len(front.servers):
        return next(iter(front.failed.values())).exit_code
    return 0


def _piped() -> None:
    """`Misuse` unless a client is there to be served: said before a run is begun for it."""
    try:
        mode = os.fstat(0).st_mode
        os.fstat(1)
    except OSError:
        mode = 0
    if os.isatty(0):
        raise Misuse(
            "mcp: a client starts this and speaks to it; to see a server's tools: holdfast scan"
        )
    # INVARIANT D191: a loop cannot wait for other devices (/dev/null) or for files
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise Misuse("mcp: a client must be connected to stdin and stdout through pipes")


def hello(options: Options, env: dict[str, str]) -> dict[str, Any]:
    """What a door is told that starts the server for us."""
    if options.url or options.config or not options.command:
        raise Misuse("mcp: behind HOLDFAST_DOOR, say the server's command after --")
    return {"command": list(options.command), "cwd": str(Path.cwd()), "env": env,
            "server": options.server}  # fmt: skip


def _runtime(desk: Desk, options: Options) -> Any:
    from holdfast.runtime import Runtime

    settings = desk.settings
    if options.policy:
        settings = msgspec.structs.replace(settings, policy=options.policy)
    return Runtime(settings)


def _named(options: Options) -> Offer:
    found = servers_of(options)
    return lambda _, __: found


def _proxy(module: str) -> Any:
    """A module of the proxy; `Misuse` says which extra it needs."""
    try:
        return importlib.import_module(f"holdfast.proxy.{module}")
    except ModuleNotFoundError as error:
        raise Misuse(f"mcp needs {error.name}: pip install 'holdfast[proxy]'") from None


def servers_of(
    options: Options, place: str = "mcp", ways: str = "a server's command after --, --url, --config"
) -> list[Any]:
    """The servers that the options of the command ``place`` name in one of its ``ways``."""
    config = _proxy("config")
    said = [bool(options.command), bool(options.url), bool(options.config)]
    if sum(said) != 1:
        raise Misuse(f"{place}: say one of: {ways}")
    if options.config:
        return config.read_config(options.config)
    if options.url:
        headers = dict(_header(text) for text in options.header)
        return [config.from_url(options.url, options.server, headers)]
    missing = [name for name in options.env if name not in os.environ]
    if missing:
        raise Misuse(f"--env {missing[0]}: the environment has no such variable")
    env = {name: os.environ[name] for name in options.env}
    return [config.from_command(options.command, options.server, env)]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip()
    if not colon or not name.strip():
        raise Misuse("--header: say NAME:VALUE, or NAME:@FILE")
    if value.startswith("@"):
        value = private(value[1:], "--header")
    if not (name + value).isprintable():
        raise Misuse(f"--header {name.strip()}: a header is one line of plain text")
    return name.strip(), value


async def _listen(
    desk: Desk, options: Options, servers: Offer, stop: asyncio.Event, door_name: str
) -> int:
    try:
        from holdfast.proxy.listen import serve_door
    except ModuleNotFoundError as error:
        raise Misuse(f"--listen needs {error.name}: pip install 'holdfast[api]'") from None
    from holdfast.cli.chatting import listen_at
    from holdfast.proxy.door import Door, tokens
    from holdfast.proxy.opening import fronted
    from holdfast.values.ids import new_id
    from holdfast.values.ports import SystemClock, SystemDice

    host, port = listen_at(options.listen)
    agents = agents_of(options)
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(_runtime(desk, options))
        known: dict[str, Any] = {}
        for agent, token in agents.items():
            known[token] = await stack.enter_async_context(
                fronted(runtime, servers(runtime, agent), agent=agent, ask=options.ask,
                        patience=options.patience, observes=options.observe, door=door_name,
                        name=options.name if len(agents) == 1 else "")
            )  # fmt: skip
            known[token].say = complain
        door = Door(
            tokens(known), clock=SystemClock(), mark=lambda: new_id(SystemDice(), chars=26),
            hosts=frozenset({host}),
        )  # fmt: skip
        with contextlib.suppress(asyncio.CancelledError):
            await serve_door(door, host, port, stop, desk.screen.note)
        for front in known.values():
            await front.settle(limits.LEAVE_SECONDS)
    return 0


def agents_of(options: Options) -> dict[str, str]:
    """The token of each agent; `Misuse` if there is none, or others may read it."""
    if not options.token_file:
        raise Misuse("--listen: say --token-file FILE: whoever calls must show its token")
    text = read_text(options.token_file, "--token-file").strip()
    if "\n" not in text and ": " not in text:
        found = {options.agent: private(options.token_file, "--token-file")}
    else:
        private(options.token_file, "--token-file", lines=True)
        parts = [line.partition(":") for line in text.splitlines() if line.strip()]
        found = {check_name(name.strip(), "agent"): token.strip() for name, _, token in parts}
    if len(set(found.values())) != len(found) or any(len(one) < 16 for one in found.values()):
        raise Misuse("--token-file: each token is of one agent, and has 16 characters or more")
    return found
