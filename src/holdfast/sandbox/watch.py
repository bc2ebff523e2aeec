"""Watching one command: what its processes use together, which limit it met, how it ended."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time  # noqa: TID251 - deadlines of commands, in a process that has no ports
from collections.abc import Iterator
from typing import Any, NamedTuple

from holdfast.sandbox import cgroup
from holdfast.values import limits

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_WALK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Process(NamedTuple):
    """A line of /proc: memory of its own in bytes, processor time in seconds."""

    pid: int
    parent: int
    state: str
    threads: int
    cpu_seconds: float
    own_bytes: int


def processes() -> Iterator[Process]:
    """Everything that runs here and can be seen."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            with open(f"/proc/{name}/statm", "rb") as file:
                memory = file.read().split()
        except OSError:
            continue  # gone meanwhile
        ticks = int(fields[11]) + int(fields[12])
        own = (int(memory[1]) - int(memory[2])) * _PAGE
        state = fields[0].decode()
        yield Process(int(name), int(fields[1]), state, int(fields[17]), ticks / _TICK, own)


def descendants(pid: int) -> list[Process]:
    """The processes below ``pid`` that have not ended."""
    everyone = list(processes())
    found: list[Process] = []
    above = {pid}
    while above:
        below = [one for one in everyone if one.parent in above]
        found += below
        above = {one.pid for one in below}
    return [one for one in found if one.state not in "ZX"]


def _proportional_bytes(pid: int) -> int:
    """Memory with shared pages divided among those who share them; 0 if it cannot be seen."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return 0
    wanted = (b"Pss_Anon:", b"Pss_Shmem:")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(wanted))


def disk_bytes(directory: int, most: int) -> int:
    """What the entries below a directory take on the disk, counted until it is more than ``most``;
    names may come and go meanwhile.

    Every entry counts as a block at least: a million empty ones fill a disk too. A tree deeper than
    worlds may be is too much: where it is not looked, anything could be.
    """
    total, walking = 0, [(os.dup(directory), ["."])]
    try:
        while walking:
            above, names = walking[-1]
            if not names:
                os.close(walking.pop()[0])
                continue
            if len(walking) > limits.WORLD_DEPTH_MAX + 1:
                return most + 1
            try:
                here = os.open(names.pop(), _WALK, dir_fd=above)
            except OSError:
                continue
            below: list[str] = []
            walking.append((here, below))
            with os.scandir(here) as entries:
                for entry in entries:
                    total += _entry_bytes(entry, below)
                    if total > most:
                        return total
    finally:
        for number, _ in walking:
            os.close(number)
    return total


def _entry_bytes(entry: os.DirEntry[str], below: list[str]) -> int:
    """What one entry takes; a directory is noted ``below``."""
    try:
        if entry.is_dir(follow_symlinks=False):
            below.append(entry.name)
            return limits.ENTRY_DISK_BYTES
        used = entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0
    return max(used, limits.ENTRY_DISK_BYTES)


def set_rlimits(wanted: dict[str, Any]) -> None:
    """The limits that the kernel keeps for each process, of this one and its children."""
    cpu = int(wanted["cpu_seconds"]) + 1 if wanted["cpu_seconds"] else 0
    for kind, amount in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_DATA, wanted["memory_bytes"]),
        (resource.RLIMIT_FSIZE, wanted["file_bytes"]),
        (resource.RLIMIT_NOFILE, wanted["open_files"]),
        (resource.RLIMIT_NPROC, wanted["processes"] + 1 if wanted["processes"] else 0),
        (resource.RLIMIT_MSGQUEUE, 64 * 1024),
        (resource.RLIMIT_MEMLOCK, 8 * 1024 * 1024),
    ):
        most = resource.getrlimit(kind)[1]
        if amount and (most == resource.RLIM_INFINITY or amount < most):
            resource.setrlimit(kind, (amount, amount))
    resource.setrlimit(
        resource.RLIMIT_CORE, (1, 1)
    )  # 0 would still feed a program that takes dumps


class Watch:
    """One command from its start to its end. ``over``: it has ended, or must."""

    def __init__(
        self,
        wanted: dict[str, Any],
        *,
        changes: tuple[int, ...],
        events: tuple[int, int],
        pid: int,
        alone: bool,
    ) -> None:
        self._wanted, self._changes, self._pid, self._alone = wanted, changes, pid, alone
        self._events = events
        self._counted = self._count()
        self._began = time.monotonic()
        self._deadline = self._began + (wanted["seconds"] or float("inf"))
        self._next = self._began + limits.SWEEP_FIRST_SECONDS
        self._before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._exit: int | None = None
        self._limit = ""
        self._peak = 0
        self._refused: list[str] = []
        self.over = False

    def patience_ms(self) -> int:
        """How long to wait for something to happen before the next look."""
        return max(0, int((min(self._next, self._deadline) - time.monotonic()) * 1000) + 1)

    def refuse(self, what: str) -> None:
        """Note what was turned away."""
        if what and what not in self._refused and len(self._refused) < limits.REFUSED_MAX_ITEMS:
            self._refused.append(what)

    def look(self) -> None:
        """Bury the dead, and see whether a limit is met."""
        self._bury(os.WNOHANG)
        now = time.monotonic()
        if self._exit is not None:
            self.over = True
        elif now >= self._deadline:
            self._sweep()  # it may have stood at another limit all the while
            self._stop("time")
        elif now >= self._next:
            self._sweep()
            spent = time.monotonic() - now
            share = spent * 100 / limits.SWEEP_SHARE_PERCENT
            self._next = now + max(limits.SWEEP_SECONDS, share)

    def _stop(self, limit: str) -> None:
        self._limit = self._limit or limit
        self.over = True

    def _sweep(self) -> None:
        alive = self._alive()
        wanted = self._wanted
        memory = sum(one.own_bytes for one in alive)
        if wanted["memory_bytes"] and memory > wanted["memory_bytes"]:
            shares = [_proportional_bytes(one.pid) or one.own_bytes for one in alive]
            memory = sum(shares)  # what a fork shares with its parent was counted twice
            if memory > wanted["memory_bytes"]:
                self._stop("memory")
        self._peak = max(self._peak, memory)
        spent = sum(one.cpu_seconds for one in alive) + self._cpu_seconds()
        if wanted["cpu_seconds"] and spent > wanted["cpu_seconds"]:
            self._stop("cpu")
        threads = sum(one.threads for one in alive)
        if wanted["processes"] and threads >= wanted["processes"]:
            self._limit = self._limit or "processes"  # the kernel refuses more: it may go on
            if threads > 2 * wanted["processes"]:
                self._stop("processes")  # where the kernel does not
        most = wanted["disk_bytes"]
        if most and sum(disk_bytes(one, most) for one in self._changes) > most:
            self._stop("disk")

    def _alive(self) -> list[Process]:
        if self._alone:
            return [one for one in processes() if one.pid != 1 and one.state not in "ZX"]
        return descendants(os.getpid())

    def _bury(self, flags: int) -> bool:
        """Take every ended child; whether one is left."""
        while True:
            try:
                pid, status, used = os.wait4(-1, flags)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._peak = max(self._peak, used.ru_maxrss * 1024)
            if pid == self._pid:
                self._exit = os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        """Kill what is left, until nothing is. Children of killed ones come to this process."""
        left = [one for one in self._alive() if one.pid != self._pid]
        if left and self._exit is not None:
            self.refuse(f"{len(left)} processes left running were ended")
        if self._alone:
            _kill(-1)
            self._bury(0)
            return
        while self._bury(os.WNOHANG):
            for one in descendants(os.getpid()):
                _kill(one.pid)
            time.sleep(0.001)

    def _count(self) -> tuple[int, int]:
        """How often the control group killed for memory and refused a process."""
        return cgroup.count(self._events[0], b"oom_kill"), cgroup.count(self._events[1], b"max")

    def _cpu_seconds(self) -> float:
        now, before = resource.getrusage(resource.RUSAGE_CHILDREN), self._before
        return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime

    def told(self) -> dict[str, Any]:
        """How it ended."""
        killed, kept_small = self._count()
        if killed > self._counted[0]:
            self._limit = self._limit or "memory"
        if kept_small > self._counted[1]:
            self._limit = self._limit or "processes"
        code = -signal.SIGKILL if self._exit is None else self._exit
        by_signal = {-signal.SIGXCPU: "cpu", -signal.SIGXFSZ: "file"}
        if code == -signal.SIGSYS:
            self.refuse("a system call of another architecture")
        return {
            "exit": code,
            "limit": self._limit or by_signal.get(code, ""),
            "seconds": time.monotonic() - self._began,
            "cpu_seconds": self._cpu_seconds(),
            "peak_bytes": self._peak,
            "refused": self._refused,
        }


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise
