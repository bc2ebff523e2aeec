"""What persons stopped, as a store's own run tells it."""

from __future__ import annotations

from holdfast.gate.switches import Switchboard
from holdfast.journal.events import Event
from holdfast.journal.record import SWITCHES
from holdfast.journal.store import Store
from holdfast.values.canon import unpack
from holdfast.values.errors import NotFound


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
