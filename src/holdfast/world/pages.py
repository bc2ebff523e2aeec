"""SQLite databases of a world, opened where they are: page by page, on any version, without a copy.

SQLite reads and writes through a file system of ours (an apsw VFS) on a `ChunkTree`: opening costs
the same whatever the size, changed pages stay in memory (and go into the objects early when they
are many), and what `Opened.save` returns is the file's new entry. Nothing is synced in here: a
change is durable when the step that made it commits.

A database that another program left with a ``-wal`` or ``-journal`` beside it is first recovered
by SQLite itself, in memory; saving it removes what was beside. The mark by which a database is in
WAL mode is kept, and not looked at.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Generator
from typing import Any

import apsw

from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound, TooLarge
from holdfast.values.ports import Clock, SystemClock
from holdfast.world import nodes, tree
from holdfast.world.chunks import DATABASE_HEAD, ChunkTree
from holdfast.world.nodes import Entry
from holdfast.world.objects import Objects

BESIDE = ("-wal", "-journal", "-shm")
"""What programs leave beside a database that they have not closed."""

_WAL_MODE, _ROLLBACK_MODE = b"\2\2", b"\1\1"  # bytes 18 and 19 of a database
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")


# Pages in memory ------------------------------------------------------------------------------
class _Cache:
    """Blobs of databases that were read last, by hash, for the whole process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        content = self._kept.get(name)
        if content is not None:
            with self._lock:  # to the end: what was not used for longest goes first
                if name in self._kept:
                    self._kept.move_to_end(name)
        return content

    def add(self, name: str, content: bytes) -> None:
        with self._lock:
            if name not in self._kept:
                self._kept[name] = content
                self._bytes += len(content)
            while self._bytes > limits.PAGE_CACHE_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])


_cache = _Cache()


class _Cached:
    """Objects with the process's cache in front: a page is read once, whatever versions have it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def get(self, name: str) -> bytes:
        content = _cache.get(name)
        if content is None:
            content = self._objects.get(name)
            _cache.add(name, content)
        return content

    def put(self, content: bytes) -> str:
        name = self._objects.put(content)
        _cache.add(name, content)
        return name


# The file system that SQLite sees -------------------------------------------------------------
class _File:
    """A file as SQLite opens it (apsw calls these)."""

    def __init__(self, content: ChunkTree, keeps_mode: bool, writable: bool) -> None:
        self.content = content
        self._keeps_mode = keeps_mode
        self._writable = writable

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        content = self.content
        step = content.chunk_bytes
        index, skip = divmod(offset, step)
        if offset + amount > content.size:
            amount = max(0, content.size - offset)
        if not amount:
            return b""
        found = content.chunk(index)[skip : skip + amount]
        if len(found) < amount:
            parts = [found]
            left = amount - len(found)
            while left:
                index += 1
                parts.append(content.chunk(index)[:left])
                left -= len(parts[-1])
            found = b"".join(parts)
        if self._keeps_mode and offset == 0 and found[18:20] == _WAL_MODE:
            return found[:18] + _ROLLBACK_MODE + found[20:]
        return found

    def xWrite(self, written: bytes, offset: int) -> None:  # noqa: N802
        if not self._writable:
            raise apsw.ReadOnlyError("the database is open for reading")
        content = self.content
        if self._keeps_mode and offset == 0 and written[18:20] == _ROLLBACK_MODE:
            written = written[:18] + _WAL_MODE + written[20:]
        if offset + len(written) > content.size:
            content.resize(offset + len(written))
        step = content.chunk_bytes
        at = 0
        while at < len(written):
            index, skip = divmod(offset + at, step)
            length = content.length(index)
            part = bytes(written[at : at + length - skip])
            if len(part) < length:
                old = content.chunk(index)
                part = old[:skip] + part + old[skip + len(part) :]
            content.put(index, part)
            at += length - skip
        if content.dirty_bytes > limits.PAGE_DIRTY_BYTES:
            content.spill()

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self.content.resize(size)

    def xFileSize(self) -> int:  # noqa: N802
        return self.content.size

    def xSectorSize(self) -> int:  # noqa: N802
        return limits.CHUNK_DATABASE_BYTES

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE | apsw.SQLITE_IOCAP_SAFE_APPEND

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xLock(self, level: int) -> None:  # noqa: N802 - one connection has the file to itself
        pass

    xUnlock = xLock  # noqa: N815

    def xSync(self, flags: int) -> None:  # noqa: N802
        pass

    def xClose(self) -> None:  # noqa: N802
        pass


class _Names(apsw.VFS):
    """Files by made-up names: SQLite reaches what was put here and nothing else."""

    def __init__(self) -> None:
        super().__init__("holdfast", "")
        self.files: dict[str, _File] = {}
        self._numbers = itertools.count(1)

    def name(self) -> str:
        return f"/{next(self._numbers)}"

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        found = self.files.get(text or "")
        if found is None:
            raise apsw.CantOpenError("no other file can be opened")
        flags[1] = flags[0]
        return found

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        found = self.files.get(pathname)
        return found is not None and found.content.size > 0

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        found = self.files.pop(filename, None)
        if found is not None:
            found.content.resize(0)


_names = _Names()


# What statements may do -----------------------------------------------------------------------
_LOOKS = frozenset(
    "analysis_limit application_id case_sensitive_like cell_size_check collation_list"
    " compile_options data_version defer_foreign_keys encoding foreign_key_check foreign_key_list"
    " foreign_keys freelist_count function_list incremental_vacuum index_info index_list"
    " index_xinfo integrity_check legacy_alter_table max_page_count module_list optimize page_count"
    " page_size pragma_list quick_check recursive_triggers reverse_unordered_selects table_info"
    " table_list table_xinfo user_version auto_vacuum".split()
)
_IGNORED = frozenset(
    "automatic_index busy_timeout cache_size cache_spill checkpoint_fullfsync fullfsync"
    " journal_mode journal_size_limit locking_mode mmap_size secure_delete synchronous temp_store"
    " threads wal_autocheckpoint wal_checkpoint".split()
)


class _Guard:
    """Refuses statements that would leave the database, last too long or eat the memory.

    INVARIANT W10: SQL reaches nothing but the database it was opened on: no other file, no
    extension, no schema by its bytes; and it ends.
    """

    def __init__(self, clock: Clock, seconds: float, size: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._size = size
        self._until = 0
        self.why = ""
        self.begin()

    def begin(self) -> None:
        """Begin to count the time anew."""
        self._until = self._clock.ticks_ns() + int(self._seconds * 1e9)
        self.why = ""

    def allow(
        self, code: int, one: str | None, two: str | None, _schema: str | None, _by: str | None
    ) -> int:
        if code == apsw.SQLITE_PRAGMA:
            pragma = (one or "").lower()
            if pragma in _IGNORED:
                return apsw.SQLITE_IGNORE  # how it is stored is not the statement's to decide
            if pragma not in _LOOKS:
                self.why = f"PRAGMA {pragma} is not allowed in a world"
                return apsw.SQLITE_DENY
        elif code == apsw.SQLITE_ATTACH and one == "":
            if self._size > limits.FILE_WHOLE_BYTES:
                self.why = f"VACUUM needs memory for all of its {self._size:,} bytes: run sqlite3"
                return apsw.SQLITE_DENY
        elif code == apsw.SQLITE_ATTACH or (code == apsw.SQLITE_DETACH and one != "vacuum_db"):
            self.why = "ATTACH, DETACH and VACUUM INTO are not allowed: open the other database"
            return apsw.SQLITE_DENY
        elif code == apsw.SQLITE_FUNCTION and two == "load_extension":
            self.why = "extensions are not allowed in a world"
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def too_long(self) -> bool:
        if self._clock.ticks_ns() > self._until:
            self.why = f"took over {self._seconds:g} s: ask for less, or give more seconds"
        elif apsw.memory_used() > limits.SQL_MEMORY_BYTES:
            self.why = f"needs over {limits.SQL_MEMORY_BYTES:,} bytes of memory: ask for less"
        return bool(self.why)


# Opening --------------------------------------------------------------------------------------
class Opened:
    """An open database: ``conn`` is its apsw connection, to be used by one thread at a time."""

    def __init__(
        self,
        objects: Objects,
        path: str,
        entry: Entry | None,
        beside: dict[str, Entry] | None = None,
        *,
        write: bool = False,
        guard: _Guard | None = None,
    ) -> None:
        self.path = path
        self.writes = write
        self._entry = entry
        self._beside = beside or {}
        self._guard = guard
        self._content = ChunkTree(_Cached(objects), entry, chunk_bytes=limits.CHUNK_DATABASE_BYTES)
        self.name = _names.name()
        if entry is not None and entry.size:
            self._check()
        hot = {end: kept for end, kept in self._beside.items() if end != "-shm" and kept.size}
        self._recovered = bool(hot)
        if hot:
            with self.said():
                self._recover(objects, hot)
        in_wal = self._content.size > 0 and self._content.chunk(0)[18:20] == _WAL_MODE
        _names.files[self.name] = _File(self._content, in_wal, write)
        with self.said():
            self.conn = self._connect(write)

    def _check(self) -> None:
        head = self._content.chunk(0)
        if not head.startswith(DATABASE_HEAD):
            raise Misuse(f"{self.path}: is not an SQLite database")

    def _connect(self, write: bool) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
        conn = apsw.Connection(self.name, flags=flags, vfs="holdfast")
        conn.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        conn.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        conn.limit(apsw.SQLITE_LIMIT_LENGTH, limits.PAYLOAD_MAX_BYTES)
        conn.execute(
            "pragma locking_mode=exclusive; pragma temp_store=memory; pragma synchronous=off;"
            f"pragma cache_size=-{limits.SQL_CACHE_BYTES // 1024}; pragma journal_mode=memory"
        ).fetchall()
        if self._guard is not None:
            conn.authorizer = self._guard.allow
            conn.set_progress_handler(self._guard.too_long, 20_000)
        return conn

    def _recover(self, objects: Objects, hot: dict[str, Entry]) -> None:
        """Let SQLite bring in what is beside; it reads and writes in memory only."""
        journal = hot.get("-journal")
        if journal is not None and _super_journal(ChunkTree(objects, journal)):
            raise Misuse(
                f"{self.path}-journal: is of a change to several databases at once: open them once "
                "with the program that made it"
            )
        was_wal = self._content.chunk(0)[18:20] == _WAL_MODE if self._content.size else False
        name = _names.name()
        _names.files[name] = _File(self._content, False, True)
        for end in ("-wal", "-journal"):
            _names.files[name + end] = _File(ChunkTree(objects, hot.get(end)), False, True)
        try:
            flags = apsw.SQLITE_OPEN_READWRITE
            with contextlib.closing(apsw.Connection(name, flags=flags, vfs="holdfast")) as conn:
                conn.execute("pragma locking_mode=exclusive; pragma synchronous=off").fetchall()
                conn.execute("select count(*) from sqlite_schema").fetchall()
                conn.execute("pragma journal_mode=delete").fetchall()
        finally:
            for end in ("", *BESIDE):
                _names.files.pop(name + end, None)
        if was_wal and self._content.size:
            head = self._content.chunk(0)
            self._content.put(0, head[:18] + _WAL_MODE + head[20:])

    @contextlib.contextmanager
    def said(self) -> Generator[None]:
        """Errors of SQLite inside come out as `Misuse` or `TooLarge` that name the database."""
        self.begin()
        try:
            yield
        except (apsw.InterruptError, apsw.AuthError) as error:
            why = self._guard.why if self._guard is not None else ""
            kind = TooLarge if isinstance(error, apsw.InterruptError) else Misuse
            raise kind(f"{self.path}: {why or error}") from None
        except apsw.ReadOnlyError:
            raise Misuse(f"{self.path}: a query cannot change it: use execute") from None
        except apsw.Error as error:
            raise Misuse(f"{self.path}: {error}") from None
        except UnicodeDecodeError:
            raise Misuse(f"{self.path}: holds text that is not UTF-8: cast it to blob") from None

    def begin(self, *_statement: object) -> bool:
        """Count the time of statements anew; fits apsw's ``exec_trace``."""
        if self._guard is not None:
            self._guard.begin()
        return True

    def entry(self) -> Entry:
        """The entry of the content as it is now; `Misuse` inside a transaction."""
        if self.conn.in_transaction:
            raise Misuse(f"{self.path}: a transaction is still open: commit it or roll it back")
        return self._content.save()

    def save(self) -> dict[str, Entry | None]:
        """What to `tree.apply` to the world for what was changed: nothing if nothing was.

        `Misuse` if a transaction is still open.
        """
        entry = self.entry()
        if entry == self._entry:
            return {}
        return {self.path: entry, **{self.path + end: None for end in self._beside}}

    def close(self) -> None:
        """Close the connection; what was not saved is gone."""
        self.conn.close()
        _names.files.pop(self.name, None)


def _super_journal(journal: ChunkTree) -> bool:
    last = journal.chunk(journal.chunks - 1)
    if len(last) < 8 and journal.chunks > 1:
        last = journal.chunk(journal.chunks - 2) + last
    return last[-8:] == _SUPER_JOURNAL


@contextlib.contextmanager
def open_database(
    objects: Objects,
    root: str,
    path: str,
    *,
    write: bool = False,
    seconds: float = limits.SQL_SECONDS,
    clock: Clock | None = None,
) -> Generator[Opened]:
    """The database at ``path`` of any version of a world, for reading or for change.

    A missing one is made if it is opened for change, else `NotFound`. Each statement may take
    ``seconds``. `Misuse` if it is no database. Closed on leaving; see `Opened.save`.
    """
    path = tree.check_path(path)
    above, _, name = path.rpartition("/")
    folder = tree.find(objects, root, above) if above else Entry("dir", root)
    found = (
        nodes.pick(objects, folder.hash, (name, *(name + end for end in BESIDE)))
        if folder is not None and folder.is_dir
        else {}
    )
    entry = found.pop(name, None)
    if entry is None and not write:
        raise NotFound(f"{path}: no such database in world {root[:12]}")
    if entry is not None and not entry.is_file:
        raise Misuse(f"{path}: is a {'symlink' if entry.kind == 'link' else 'directory'}")
    beside = {other[len(name) :]: kept for other, kept in found.items() if kept.is_file}
    guard = _Guard(clock or SystemClock(), seconds, 0 if entry is None else entry.size)
    opened = Opened(objects, path, entry, beside, write=write, guard=guard)
    try:
        yield opened
    finally:
        opened.close()
