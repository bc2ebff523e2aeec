"""What persons stopped, as a store's own run tells it; and adding to that."""

from __future__ import annotations

from holdfast.gate.switches import Switchboard, is_switch_name
from holdfast.journal.events import Draft, Event, SignalReceived
from holdfast.journal.record import KILL, LIFT, SWITCHES, keep_record
from holdfast.journal.store import Batch, Store
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, unpack
from holdfast.values.errors import Misuse, NotFound


async def hear_switches(store: Store, board: Switchboard) -> Switchboard:
    """Put ``board`` as the store says; it is returned."""
    try:
        events = await store.read(SWITCHES)
    except NotFound:
        return board
    for event in events:
        hear_switch(store, board, event)
    return board


def hear_switch(store: Store, board: Switchboard, event: Event) -> None:
    """Take note of one event of that run."""
    if event.kind == "signal.received" and event.value is not None:
        board.hear(event, unpack(event.value, store.get))


async def throw(
    store: Store, what: str, name: str, *, by: str, now_ms: int, token: str, reason: str = "",
    lift: bool = False,
) -> None:  # fmt: skip
    """Stop an agent, a tool or a rule (``what``), or let it go on (``lift``); ``token``: random.
    `Misuse` for a name that is none, or was not stopped."""
    if not is_switch_name(name):
        raise Misuse(f"{name!r}: is no name and no glob (only '*' and '?' are special)")
    if len(reason) > limits.POLICY_TEXT_CHARS:
        raise Misuse(f"a reason has at most {limits.POLICY_TEXT_CHARS} characters")
    if lift and (what, name) not in (await hear_switches(store, Switchboard())).switches:
        raise Misuse(f"{what} {name!r} is not stopped; `holdfast kill --list` shows what is")
    await keep_record(store, SWITCHES, now_ms, token)
    blobs: Blobs = {}
    value = pack({"what": what, "name": name, "reason": reason}, blobs)
    body = SignalReceived(LIFT if lift else KILL, token=token, by=by)
    await store.append((Batch(SWITCHES, (Draft(body, now_ms, value=value),)),), blobs)
