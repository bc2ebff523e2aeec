"""The way from the command line to a store that no `Runtime` runs: reading, checking, moving."""

from __future__ import annotations

from typing import Any

from holdfast.gate import load_policy_file
from holdfast.gate.counting import BUDGET, SCALE, alert, cap_of, shown, used
from holdfast.journal.store import Store
from holdfast.runtime.settings import Settings
from holdfast.stores.archive import export_runs, import_archive
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.metering import rebuild
from holdfast.stores.salvage import salvage
from holdfast.stores.sqlite import SqliteStore

__all__ = [
    "budget_lines",
    "check",
    "collect",
    "export_runs",
    "ids_with_prefix",
    "import_archive",
    "open_store",
    "rebuild_meters",
    "salvage",
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
