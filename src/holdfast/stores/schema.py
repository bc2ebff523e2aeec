"""The SQLite layout of a journal, and opening it safely.

One file, ``journal.db``: plain tables that the ``sqlite3`` shell can read. ``event.body``, ``args``
and ``value`` are canonical JSON text (with references as `holdfast.stores.terse` writes them);
hashes are 32-byte blobs. A file of another program, of a newer format, or damaged is refused with
one line that names the place; nothing is rewritten.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from holdfast.journal.events import FORMAT
from holdfast.values import limits
from holdfast.values.errors import Corrupt, Misuse, NotFound, Outside

APPLICATION_ID = 0x484F4C44  # "HOLD"

SCHEMA = """
CREATE TABLE run(
  n       INTEGER PRIMARY KEY,          -- creation order
  run     TEXT NOT NULL UNIQUE,
  agent   TEXT NOT NULL,
  status  TEXT NOT NULL,                -- running, waiting, done, failed, cancelled
  parent  TEXT NOT NULL DEFAULT '',
  due     INTEGER NOT NULL DEFAULT 0,   -- earliest timer, ms since 1970, 0 = none
  woken   INTEGER NOT NULL DEFAULT 0,   -- 1: something it waits for has come
  owner   TEXT NOT NULL DEFAULT '',     -- lease holder, '' = nobody
  epoch   INTEGER NOT NULL DEFAULT 0,   -- fencing number, grows with every claim
  row     TEXT NOT NULL                 -- the folded row, JSON
);
CREATE INDEX run_status ON run(status, n);
CREATE INDEX run_agent  ON run(agent, n);
CREATE INDEX run_parent ON run(parent, n) WHERE parent <> '';
CREATE INDEX run_due    ON run(due)   WHERE due > 0;
CREATE INDEX run_lively ON run(owner) WHERE owner <> '' OR woken = 1;
CREATE TABLE event(
  seq   INTEGER PRIMARY KEY,            -- commit order of the whole store
  n     INTEGER NOT NULL,               -- run.n
  pos   INTEGER NOT NULL,               -- place in the run's chain
  kind  INTEGER NOT NULL,               -- index into the list of kinds
  at    INTEGER NOT NULL,               -- ms since 1970
  id    BLOB NOT NULL,                  -- SHA-256 over all but seq
  world BLOB,                           -- root of the world after, NULL = none
  body  TEXT NOT NULL,
  args,                                 -- text, or bytes if references are in it
  value
);
CREATE UNIQUE INDEX event_place ON event(n, pos);
CREATE TABLE blob(
  id    INTEGER PRIMARY KEY,
  hash  BLOB NOT NULL UNIQUE,           -- SHA-256 of the content
  zstd  INTEGER NOT NULL,               -- 1: stored as a zstd frame
  data  BLOB,                           -- NULL: it is in a pack
  pack  INTEGER,                        -- pack.n
  start INTEGER,                        -- first byte in the pack
  size  INTEGER                         -- bytes there
);
CREATE INDEX blob_place ON blob(pack, start) WHERE pack IS NOT NULL;
CREATE TABLE pack(                      -- files of large content
  n    INTEGER PRIMARY KEY,             -- of pack.<n>; content is added to the highest
  mark TEXT NOT NULL,                   -- stands in its first line
  size INTEGER NOT NULL                 -- its end: bytes beyond are nobody's
);
CREATE TABLE early(                     -- blobs put before the event that will name them
  first INTEGER NOT NULL,               -- blob.id, from
  last  INTEGER NOT NULL,               -- to
  at    INTEGER NOT NULL                -- ms since 1970
);
CREATE TABLE owner(                     -- processes that may hold leases
  id      TEXT PRIMARY KEY,
  expires INTEGER NOT NULL              -- ms since 1970
) WITHOUT ROWID;
CREATE TABLE counter(                   -- numbers that outlive the rows they were counted from
  name  TEXT PRIMARY KEY,               -- seq, run: highest deleted; swept, bells: how often
  value INTEGER NOT NULL
) WITHOUT ROWID;
"""

METER_TABLE = """
CREATE TABLE IF NOT EXISTS meter(       -- sums of what events charge, made with the first of them
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL,               -- of all events, also of those that were deleted
  gone  INTEGER NOT NULL DEFAULT 0      -- of these alone
) WITHOUT ROWID;
"""

_gate = threading.Lock()
_open: Counter[tuple[int, int]] = Counter()


class Connection(sqlite3.Connection):
    """A connection that is counted while it is open (see `check_file`), with the packs that it has
    opened, by number."""

    inode: tuple[int, int] | None = None
    pack_flags: int = os.O_RDONLY

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.packs: dict[int, int] = {}

    def close(self) -> None:
        """Close. Idempotent."""
        super().close()
        while self.packs:
            os.close(self.packs.popitem()[1])
        with _gate:
            if self.inode is not None:
                _open[self.inode] -= 1
                self.inode = None


def counted(path: Path, uri: str) -> Connection:
    """A connection to ``uri``, whose file is ``path``, counted while it is open."""
    with _gate:
        conn = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=limits.BUSY_SECONDS,
            check_same_thread=False, cached_statements=64, factory=Connection,
        )  # fmt: skip
        found = path.stat()
        conn.inode = (found.st_dev, found.st_ino)
        _open[conn.inode] += 1
    return conn


def connect(path: Path, *, synchronous: str = "FULL", write: bool = False) -> Connection:
    """A connection with Holdfast's settings; one that does not write cannot write."""
    mode = "rwc" if write else "ro"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        conn = counted(path, uri)
        conn.execute(f"PRAGMA synchronous={synchronous}")
        conn.execute(f"PRAGMA wal_autocheckpoint={limits.WAL_CHECKPOINT_PAGES}")
        if write:
            conn.pack_flags = os.O_RDWR
        else:
            conn.execute("PRAGMA query_only=1")
    except sqlite3.Error as error:
        raise explain(error, path) from None
    except UnicodeDecodeError:  # of SQLite's message, which quotes the damaged layout
        raise Corrupt(f"{path}: is damaged (malformed database schema)") from None
    return conn


def open_store(path: Path, *, create: bool, synchronous: str = "FULL") -> Connection:
    """The writing connection of the store at ``path``, made if ``create`` and absent.

    Raises `NotFound`, `Corrupt` (foreign, damaged), `Misuse` (newer format) or `Outside` (disk).
    """
    if not path.exists():
        if not create:
            raise NotFound(
                f"{path}: there is no store here; `holdfast run` makes one, "
                "or name another with --store"
            )
        _create(path)
    check_file(path)
    conn = connect(path, synchronous=synchronous, write=True)
    try:
        check_format(conn, path)
        check_layout(conn, path)
    except sqlite3.Error as error:
        conn.close()
        raise explain(error, path) from None
    except BaseException:
        conn.close()
        raise
    return conn


def _create(path: Path) -> None:
    """Make an empty journal. It comes into being whole, under its name, or not at all."""
    # INVARIANT S1: a file without Holdfast's mark was not made by Holdfast, so it is never written
    draft = path.parent / f".{path.name}.{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.unlink(missing_ok=True)  # left by a dead process of the same number
    except OSError as error:
        raise Outside(f"{path.parent}: cannot be created: {error.strerror}") from None
    try:
        conn = connect(draft, write=True)
        with contextlib.closing(conn):
            conn.execute(f"PRAGMA page_size={limits.PAGE_BYTES}")
            conn.execute("PRAGMA journal_mode=WAL")
            conn.execute("BEGIN IMMEDIATE")
            # without comments and needless space the layout fits on the first page
            for statement in re.sub(r"\s+", " ", re.sub(r"--.*", "", SCHEMA)).split(";"):
                conn.execute(statement)
            conn.execute(f"PRAGMA application_id={APPLICATION_ID}")
            conn.execute(f"PRAGMA user_version={FORMAT}")
            conn.execute("COMMIT")
        draft.chmod(0o600)
        path.hardlink_to(draft)
        if path.parent.name == ".holdfast":  # in the midst of somebody's work
            (path.parent / ".gitignore").write_text("*\n")
        sync_directory(path.parent)
    except FileExistsError:
        pass  # another process made it at the same time: both use that one
    except sqlite3.Error as error:
        raise explain(error, path) from None
    except Outside as error:
        raise Outside(str(error).replace(str(draft), str(path))) from None
    except OSError as error:
        raise Outside(f"{path}: cannot be created: {error.strerror}") from None
    finally:
        for rest in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                draft.with_name(draft.name + rest).unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a new name in a directory survive power loss."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_file(path: Path) -> None:
    """Refuse what cannot be a journal before SQLite touches it: it would take an empty file for a
    new database, and roll a foreign one back.

    INVARIANT S7: a file that this process has a connection to is never opened in another way. On
    POSIX, closing it would drop SQLite's locks, and another process that then closes would take
    itself for the last one and delete the log under us.
    """
    if path.is_dir():
        raise Misuse(f"{path}: is a directory, a store's journal is a file")
    try:
        with _gate:
            found = path.stat()
            if _open[(found.st_dev, found.st_ino)] > 0:
                return
            with path.open("rb") as file:
                start = file.read(100)
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no store here") from None
    except OSError as error:
        raise Outside(f"{path}: cannot be read: {error.strerror}") from None
    if not start:
        raise Corrupt(f"{path}: is empty (0 bytes): it was cut off, or is no Holdfast journal")
    if not start.startswith(b"SQLite format 3\0"):
        raise Corrupt(f"{path}: is not a Holdfast journal (nor any SQLite file)")
    if len(start) < 100:
        raise Corrupt(f"{path}: is damaged (cut off after {len(start)} bytes)")


def check_format(conn: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is not a journal, or one of a newer format."""
    if conn.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise Corrupt(f"{path}: is a SQLite file of another program, not a Holdfast journal")
    found = conn.execute("PRAGMA user_version").fetchone()[0]
    if found > FORMAT:
        raise Misuse(
            f"{path}: has journal format {found}, this Holdfast reads up to {FORMAT}: "
            "update Holdfast, or use another store with --store"
        )


def check_layout(conn: sqlite3.Connection, path: Path) -> None:
    """Refuse a file whose tables are not those of `SCHEMA`; sqlite3.Error if it is damaged."""
    try:
        conn.execute("SELECT 1 FROM run, event, blob, early, owner, counter LIMIT 1")
        conn.execute("SELECT b.start, p.mark, e.first FROM blob b, pack p, early e LIMIT 1")
    except sqlite3.OperationalError as error:
        if "no such column" not in str(error) and "no such table: pack" not in str(error):
            raise
        raise Misuse(
            f"{path}: was made by a Holdfast from before packs: export its runs with that one, "
            "or use another store with --store"
        ) from None


def grow_wal(conn: sqlite3.Connection) -> None:
    """Grow the write-ahead log once, so that later commits overwrite blocks instead of adding them.

    A transaction too big for the page cache spills into the log and is then rolled back: the file
    keeps its length, the database is untouched.
    """
    try:
        conn.execute("PRAGMA cache_size=16")
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("CREATE TABLE grow(x)")
        conn.execute("INSERT INTO grow VALUES(zeroblob(?))", (limits.WAL_GROW_BYTES,))
        conn.execute("ROLLBACK")
        conn.execute("PRAGMA cache_size=-8000")
    except sqlite3.Error:
        # only speed is lost: a full disk or a lock will be reported by the append that meets it
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def explain(error: sqlite3.Error, path: Path) -> Corrupt | Outside:
    """The Holdfast error for one of SQLite's, with the place and the way out."""
    text = str(error)
    if "not a database" in text:
        return Corrupt(f"{path}: is not a Holdfast journal (nor any SQLite file)")
    if "malformed" in text or "corrupt" in text:
        return Corrupt(
            f"{path}: is damaged ({text}); `holdfast fsck --salvage FILE` exports what is sound"
        )
    if "full" in text:
        return Outside(f"{path}: the disk is full; nothing of this append was written",
                       retryable=True)  # fmt: skip
    if "readonly" in text or "unable to open" in text:
        return Outside(f"{path}: cannot be written ({text}); check the directory's permissions")
    if "locked" in text or "busy" in text:
        return Outside(
            f"{path}: another process kept it locked for {limits.BUSY_SECONDS:.0f} s",
            retryable=True,
        )
    if "I/O" in text:
        name = getattr(error, "sqlite_errorname", "") or "SQLITE_IOERR"
        text = f"{text} ({name}): the disk is failing, gone or full"
    return Outside(f"{path}: {text}", retryable=True)
