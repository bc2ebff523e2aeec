"""Which run a client that comes back goes on with."""

from __future__ import annotations

from holdfast.gate import default_policy
from holdfast.journal.store import RunQuery
from holdfast.proxy.opening import base_of, fronted
from holdfast.proxy.upstream import Server
from holdfast.runtime import Runtime, Settings

SERVERS = [Server("ledger", ("true",))]


async def test_a_client_that_is_to_be_governed_goes_on_with_no_run_that_observes():
    """E123: what was left open while observing is left; a run that enforces is begun."""
    settings = Settings(user="ann")
    async with Runtime(settings, store="memory", policy=default_policy()) as runtime:
        name = f"{base_of('client', SERVERS)}.old"
        old = await runtime.guest("client", name=name, door="mcp", observes=True)
        await old.leave()
        async with fronted(runtime, SERVERS, agent="client"):
            (new,) = [one.run for one in await runtime.store.runs(RunQuery(10)) if one.run != name]
            (event, *_) = await runtime.store.read(new)
            assert b'"observes":true' not in event.body
        async with fronted(runtime, SERVERS, agent="client", observes=True):
            assert len(await runtime.store.runs(RunQuery(10))) == 2  # this one fits
