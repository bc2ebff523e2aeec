"""Receiving guests: runs for clients behind a door, begun or gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.engine.guest import Guest, GuestRun, guest_program
from holdfast.engine.host import Host
from holdfast.journal.events import Draft, RunStarted, body_of
from holdfast.journal.store import Store
from holdfast.journal.views import DOOR, RunRow
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Conflict, Misuse, NotFound
from holdfast.values.ids import check_name


async def receive(
    host: Host,
    agent: str,
    *,
    door: str,
    name: str = "",
    role: str = "",
    given: Mapping[str, Any] | None = None,
    world: str = "",
    by: str = "",
    observes: bool = False,
    rerun: bool = False,
) -> Guest:
    """A run for a client behind ``door``, or the open one of that name, gone on with
    (`holdfast.engine.guest`). ``given``: what ``by`` gave it to do. `Conflict` if the run of
    that name has ended or is open here, `LeaseLost` if another process has it, `Misuse` if it is no
    guest's, or began with another ``observes``."""
    program = guest_program(agent, role)
    row = await _known(host.store, name) if name else None
    if row is None:
        blobs: Blobs = {}
        body = RunStarted(
            agent, ref=DOOR + door, role=role, policy=host.settings.policy.hash, by=by,
            observes=observes,
        )  # fmt: skip
        draft = Draft(body, host.now_ms(), world=world, args=pack(given or {}, blobs))
        run = await host.begin(program, draft, blobs, name)
    else:
        run = row.run
        if not row.door:
            raise Misuse(f"run {run} has a program of its own: choose another name")
        if row.ended or run in host.residents:
            state = "has ended" if row.ended else "is open here already"
            raise Conflict(f"run {run} {state}: choose another name")
        await _as_begun(host.store, row, observes=observes)
        await host.load(row, program)
    resident = host.residents[run]
    assert isinstance(resident.run, GuestRun)
    return Guest(host, resident, resident.run, rerun=rerun)


async def _as_begun(store: Store, row: RunRow, *, observes: bool) -> None:
    # INVARIANT E123: whether verdicts are enforced is as the run began: nobody goes on with one
    # that observes as if it enforced
    start = row.segments[-1] if row.segments else 0
    (event,) = await store.read(row.run, start, start + 1)
    began: RunStarted = body_of(event)
    if began.observes != observes:
        did, does = ("observing", "enforce") if began.observes else ("enforcing", "observe")
        raise Misuse(
            f"run {row.run} was begun {did} the policy and cannot {does} it now: go on with it "
            "as it began, or choose another name"
        )


async def _known(store: Store, name: str) -> RunRow | None:
    try:
        return await store.run(check_name(name, "run"))
    except NotFound:
        return None
