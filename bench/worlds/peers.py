"""What people use today to branch a directory or a database, timed in the same process tree."""

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


def git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0",
         "-C", str(folder), *words],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


class Repository:
    """A copy of a tree as a git repository."""

    def __init__(self, tree: Path, place: Path) -> None:
        self.place = place / "repo"
        self.import_ms = took_ms(lambda: self._make(tree))
        self._count = 0

    def _make(self, tree: Path) -> None:
        shutil.copytree(tree, self.place)
        start = time.perf_counter()
        git(self.place, "init", "-q")
        git(self.place, "add", "-A")
        git(self.place, "commit", "-qm", "first")
        self.add_ms = (time.perf_counter() - start) * 1e3

    def worktree_ms(self) -> float:
        """``git worktree add`` and a first command there."""
        self._count += 1
        to = self.place.parent / f"worktree{self._count}"

        def work() -> None:
            git(self.place, "worktree", "add", "-q", "--detach", str(to))
            subprocess.run(["/bin/true"], cwd=to, check=True)

        took = took_ms(work)
        git(self.place, "worktree", "remove", "--force", str(to))
        return took

    def commit_ms(self, changed: int) -> float:
        """A commit of ``changed`` small files found by git's stat scan."""
        paths = sorted(path for path in self.place.rglob("*.py"))[:: max(1, 50 // changed)][
            :changed
        ]
        self._count += 1
        for path in paths:
            path.write_bytes(path.read_bytes() + b"# %d\n" % self._count)
        return took_ms(lambda: git(self.place, "commit", "-qam", "next"))


def copy_ms(tree: Path, place: Path) -> float:
    """``cp -r`` and a first command there."""
    to = place / "copied"

    def work() -> None:
        subprocess.run(["cp", "-r", str(tree), str(to)], check=True)
        subprocess.run(["/bin/true"], cwd=to, check=True)

    took = took_ms(work)
    shutil.rmtree(to)
    return took


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
