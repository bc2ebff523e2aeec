"""The way from the command line to a store that no `Runtime` runs: reading, checking, moving."""

from __future__ import annotations

from holdfast.journal.store import Store
from holdfast.runtime.settings import Settings
from holdfast.stores.archive import export_runs, import_archive
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.salvage import salvage
from holdfast.stores.sqlite import SqliteStore

__all__ = [
    "check",
    "collect",
    "export_runs",
    "ids_with_prefix",
    "import_archive",
    "open_store",
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
