"""The way from the command line to a store that no `Runtime` runs: reading, checking, moving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from holdfast.gate import DEFAULT_POLICY, Policy, load_policy_file
from holdfast.gate.counting import SCALE, alert, cap_of, shown, used
from holdfast.journal.events import Event
from holdfast.journal.meters import BUDGET
from holdfast.journal.signed import SignedRoot
from holdfast.journal.store import Store
from holdfast.runtime.settings import Settings
from holdfast.runtime.signing import ahead, hand_over
from holdfast.stores import reading
from holdfast.stores.archive import export_runs, import_archive
from holdfast.stores.copying import copy_store
from holdfast.stores.entries import leaf_count, newest_statement, statements, unsigned
from holdfast.stores.erase import Erased, erase
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.keys import SigningKey, make_key, read_public
from holdfast.stores.metering import rebuild
from holdfast.stores.notary import sign
from holdfast.stores.proving import Proven, disproven, prove_event, prove_roots, read_proof
from holdfast.stores.salvage import salvage
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.witness import Witness, kept_in, witness_of
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Misuse
from holdfast.values.ports import SystemClock, SystemDice

__all__ = [
    "Erased",
    "Proven",
    "Standing",
    "budget_lines",
    "check",
    "collect",
    "copy_store",
    "disproven",
    "erase",
    "every_event",
    "export_runs",
    "ids_with_prefix",
    "import_archive",
    "kept_in",
    "make_key",
    "open_store",
    "policy_of",
    "prove_event",
    "prove_roots",
    "read_proof",
    "read_public",
    "rebuild_meters",
    "salvage",
    "sign_now",
    "standing",
]


def open_store(settings: Settings, *, create: bool = False) -> SqliteStore:
    """The store that the settings name; `NotFound` says how to get one."""
    return SqliteStore(settings.directory, create=create, synchronous=settings.synchronous)


def ids_with_prefix(store: Store, prefix: str, limit: int) -> list[str]:
    """Ids of runs that begin with ``prefix``, in order."""
    assert isinstance(store, SqliteStore)
    found = store.reader().execute(
        "SELECT run FROM run WHERE run>=? AND run<? ORDER BY run LIMIT ?",
        (prefix, prefix + "\U0010ffff", limit),
    )
    return [columns[0] for columns in found]


def rebuild_meters(store: Store) -> int:
    """Compute every meter of a store again from its events; how many differed."""
    assert isinstance(store, SqliteStore)
    return store.maintain(rebuild)


def budget_lines(store: Store, policy: str) -> list[dict[str, Any]]:
    """What is reserved, used and left of each budget, by scope and period, in the order of their
    names; ``policy``: the file that says the limits ("": they are not known)."""
    known = {one.id: one for one in load_policy_file(policy).budgets} if policy else {}
    found: list[dict[str, Any]] = []
    taken = store.meters([f"{BUDGET}*", "used/*"])
    meters = {name.replace("used/", BUDGET, 1) if name.startswith("used/") else name
              for name in taken}  # fmt: skip
    for meter in sorted(meters):
        _, unit, name, scope, period, of = meter.split("/", 5)
        budget = known.get(name)
        limit = cap_of(budget) if budget is not None and budget.unit == unit else None
        total, spent = taken.get(meter, 0), taken.get(used(meter), 0)
        counts = {
            "reserved": total - spent, "used": spent, "limit": limit,
            "left": None if limit is None else limit - total,
        }  # fmt: skip
        found.append({
            "budget": name, "scope": scope, "of": of, "period": "" if period == "-" else period,
            "unit": unit, "alerts": store.meters([alert(meter)]).get(alert(meter), 0),
            **{key: None if n is None else n / SCALE[unit] for key, n in counts.items()},
            "shown": {key: "" if n is None else shown(unit, n) for key, n in counts.items()},
        })  # fmt: skip
    return found


def policy_of(settings: Settings) -> Policy:
    """The policy that the settings name."""
    return load_policy_file(Path(settings.policy)) if settings.policy else DEFAULT_POLICY


def every_event(store: SqliteStore, last: int) -> Iterator[Event]:
    """All events up to number ``last``, in the order of their commits."""
    after = 0
    while after < last:
        page = store.ask(
            lambda conn, after=after: reading.read_tail(
                conn, after, min(limits.READ_PAGE_EVENTS, last - after)
            )
        )
        yield from (event for event in page if event.seq <= last)
        after = page[-1].seq if page else last


class Standing(msgspec.Struct, frozen=True):
    """How far a store is signed. ``events``: all; ``signed``: the newest root, None if there is
    none; ``left``: events that it does not cover; ``places``: for each second place, its newest
    root, or what is wrong with it; ``ahead``: places that know more than the store does."""

    events: int
    roots: int
    signed: SignedRoot | None
    left: int
    places: dict[str, SignedRoot | str | None]
    ahead: tuple[str, ...] = ()


def _witnesses(settings: Settings) -> list[Witness]:
    return [witness_of(place, settings.directory) for place in settings.witness]


def standing(store: SqliteStore, settings: Settings) -> Standing:
    """How far a store is signed, and what its second places know."""
    places: dict[str, SignedRoot | str | None] = {}
    for witness in _witnesses(settings):  # before the store, which may go on meanwhile
        try:
            places[witness.place] = witness.newest()
            witness.check()
        except HoldfastError as error:
            places[witness.place] = str(error)
    newest = store.ask(newest_statement)
    size = newest.signed.size if newest else 0
    further: list[str] = []
    for place, known in places.items():
        wrong = "" if isinstance(known, str) else ahead(known, newest)
        if wrong:
            further.append(place)
            places[place] = f"{place}: {wrong}"
    return Standing(
        store.ask(leaf_count), len(store.ask(statements)), newest.signed if newest else None,
        store.ask(lambda conn: unsigned(conn, size)).count, places, tuple(further),
    )  # fmt: skip


async def sign_now(store: SqliteStore, settings: Settings) -> SignedRoot | None:
    """Sign what no root covers, and give second places all that they miss. None if nothing was
    left, or another process is at it. Raises what stands in the way."""
    if not settings.key:
        raise Misuse(
            "no key is set: `holdfast audit key FILE` makes one; then set HOLDFAST_KEY to the file"
        )
    key, witnesses = SigningKey(Path(settings.key)), _witnesses(settings)
    policy = policy_of(settings).hash
    made = await sign(store, key, policy=policy, clock=SystemClock(), dice=SystemDice())
    for witness in witnesses:
        hand_over(store, witness)
    return made
