"""What `holdfast proxy` does: reads what was chosen, serves, and says how clients come in."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from typing import Any

import msgspec

from holdfast.cli.desk import Desk
from holdfast.cli.running import runtime_of
from holdfast.cli.stopping import stoppable
from holdfast.explain.text import one_line
from holdfast.values.errors import Misuse
from holdfast.values.ports import SystemClock, SystemDice


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command."""

    upstreams: tuple[str, ...]
    key_envs: tuple[str, ...]
    config: str
    listen: str
    agent: str
    role: str
    name: str
    policy: str
    observe: bool
    patience: float | None
    drain: bool
    replay: str | None
    record: bool
    until_stdin_ends: bool


async def serve_models(desk: Desk, chosen: Chosen) -> int:
    """Serve until this process is asked to stop."""
    try:
        from holdfast.proxy import wire, wiring
        from holdfast.proxy.tape import read_tape
        from holdfast.runtime import serving
    except ModuleNotFoundError as error:
        raise Misuse(f"proxy needs {error.name}: pip install 'holdfast[proxy,models]'") from None
    from holdfast.cli.chatting import listen_at
    from holdfast.models.prices import Prices

    host, port = listen_at(chosen.listen)
    found = wiring.read_wiring(chosen.config) if chosen.config else wiring.Wiring()
    entries = {**found.upstreams, **dict(map(wiring.entry_of, chosen.upstreams))}
    providers = wiring.providers_of(wiring.with_keys(entries, chosen.key_envs), os.environ)
    found = msgspec.structs.replace(
        found, drain=found.drain or chosen.drain,
        patience=found.patience if chosen.patience is None else chosen.patience,
    )  # fmt: skip
    if chosen.record and not chosen.replay:
        raise Misuse("--record goes with --replay: every call is recorded as it is")
    rules, prices = wiring.rules_of(found, record=chosen.record), Prices(found.prices)
    prices.load()
    with stoppable(desk.screen) as stop:
        async with runtime_of(desk, policy=chosen.policy) as runtime:
            tape = None
            if chosen.replay:
                run = "" if chosen.replay == "all" else chosen.replay
                tape = await read_tape(runtime.store, run)
            app = wire.Wire(
                providers, clock=SystemClock(), dice=SystemDice(), rules=rules,
                prices=prices, tape=tape, say=lambda text: _say(desk, text),
            )  # fmt: skip
            guest = await runtime.guest(
                chosen.agent, name=chosen.name, role=chosen.role, door="model",
                observes=chosen.observe,
            )  # fmt: skip
            try:
                async with serving.served(app, host, port) as url:
                    told = wiring.told(guest.id, url, app.admit(guest), providers)
                    _tell(desk, told, wiring.keyless(providers, os.environ))
                    await _until(stop, with_stdin=chosen.until_stdin_ends)
            finally:
                await app.close()
                await (guest.leave() if chosen.name else guest.end())
    return stop.code


def _tell(desk: Desk, told: dict[str, Any], keyless: list[str]) -> None:
    if desk.screen.json:
        desk.screen.document(told)
    else:
        for name, value in told["environment"].items():
            desk.screen.say(f"export {name}={shlex.quote(value)}")
        for name, url in told["upstreams"].items():
            desk.screen.say(f"# {name}: {url}, with key {told['token']}")
        desk.screen.note((f"run {told['run']}", "bold"))
    for text in keyless:
        desk.screen.note(text)
    sys.stdout.flush()


def _say(desk: Desk, text: str) -> None:
    desk.screen.note(one_line(text))


async def _until(stop: Any, *, with_stdin: bool) -> None:
    """Until this process is asked to stop, or its standard input ends."""
    waiting = [asyncio.ensure_future(stop.asked.wait())]
    if with_stdin:
        waiting.append(asyncio.ensure_future(asyncio.to_thread(sys.stdin.buffer.read)))
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()
