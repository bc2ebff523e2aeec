"""PostgreSQL, the peer for branches of databases: a real server on a unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def took_ms(work: Callable[[], object]) -> float:
    """Wall time of a call, in ms."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


class Postgres:
    """A real server on a unix socket, run as an ordinary user; absent if none is installed."""

    def __init__(self) -> None:
        self.bin = POSTGRES[0]
        self.place = Path(tempfile.mkdtemp(prefix="bench-pg-", dir="/tmp"))
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            found = pwd.getpwnam("postgres")
            os.chown(self.place, found.pw_uid, found.pw_gid)
            self._user = {"user": found.pw_uid, "group": found.pw_gid}
        data = str(self.place / "data")
        self._call("initdb", "-D", data, "-A", "trust", "-U", "bench", "--no-sync")
        self._call(
            "pg_ctl", "-D", data, "-w", "-l", str(self.place / "log"),
            "-o", f"-k {self.place} -c listen_addresses=''", "start",
        )  # fmt: skip

    @staticmethod
    def there() -> bool:
        return bool(POSTGRES)

    def _call(self, program: str, *words: str, stdin: bytes | None = None) -> None:
        subprocess.run(
            [str(self.bin / program), *words], check=True, cwd="/", input=stdin,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._user,
        )  # fmt: skip

    def sql(self, text: str, database: str = "postgres") -> None:
        """Run statements."""
        self._call(
            "psql", "-q", "-h", str(self.place), "-U", "bench", "-d", database,
            "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=text.encode(),
        )  # fmt: skip

    def branch_ms(self, number: int) -> float:
        """``CREATE DATABASE ... TEMPLATE`` and a first write there."""

        def work() -> None:
            self.sql(f"CREATE DATABASE branch{number} TEMPLATE source")
            self.sql("UPDATE item SET value = value + 1 WHERE id = 1", f"branch{number}")

        took = took_ms(work)
        self.sql(f"DROP DATABASE branch{number}")
        return took

    def close(self) -> None:
        self._call("pg_ctl", "-D", str(self.place / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self.place, ignore_errors=True)
