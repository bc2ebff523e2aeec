"""Publishing from outside: a run of the built-in agent, begun once and gone on with."""

from __future__ import annotations

from holdfast.engine.held import ledger
from holdfast.engine.host import Handle, Host
from holdfast.engine.publish import publishing


async def publish_run(host: Host, run: str, *, by: str = "") -> Handle:
    """Publish what a run holds, as a run of its own: `Published` is its result. Goes on with one
    that began before and has not ended. The run itself goes on here if it waited for that."""
    for claimer in (await ledger(host.store, run)).claims.values():
        row = await host.store.run(claimer)
        if row.agent == publishing.name and not row.ended:
            return await host.resume(claimer)
    return await host.start(publishing, (run,), by=by)
