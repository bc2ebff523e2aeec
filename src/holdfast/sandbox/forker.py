"""The helper: a small fresh process that forks sandboxes.

Forking from it is cheap and safe (one thread, little memory), which it is not from the process that
asks. It reads one order at a time from its socket and ends when that is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NamedTuple

from holdfast.sandbox import box, calls, cgroup, landlock, root, syscalls
from holdfast.values import limits

NOBODY = 65534
"""Whom root's commands are outside: a user who owns nothing."""


class _Begun(NamedTuple):
    """A first process, its control group, and the socket on which it waits for its plan."""

    process: int
    group: cgroup.Group
    door: socket.socket


class Forker:
    """What the helper knows for all sandboxes.

    ``names`` maps the owner of worlds to the user inside, if these differ: root's commands are
    nobody outside, yet what they write is root's.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._names, self._shelf = -1, ""
        self._user = os.geteuid(), os.getegid()
        self._unable = ""
        self._above: dict[str, str] = {}
        self._spare: _Begun | None = None
        self._groups: dict[int, cgroup.Group] = {}

    def settle(self) -> None:
        """Move to a mount namespace of its own and prepare what sandboxes share."""
        is_root = self._user[0] == 0
        self._above = cgroup.parents()
        cgroup.clear(self._above)
        try:
            cgroup.remove(cgroup.make(self._above))
        except OSError:
            self._above = {}
        try:
            if is_root:
                self._names = mapping(NOBODY)
            own_mounts(*self._user)
            self._shelf = root.prepare()
        except OSError as error:
            self._unable = error.strerror or str(error)
        if self._names >= 0:
            self._user = NOBODY, NOBODY

    def serve(self) -> None:
        """Fork a sandbox for each order, and clear away the control groups of those that ended."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number != self._control.fileno():
                    poll.unregister(number)
                    os.close(number)
                    cgroup.remove(self._groups.pop(number))
                elif (process := self._order()) is None:
                    return self._clear()
                elif process >= 0:
                    poll.register(process, select.POLLIN)

    def _clear(self) -> None:
        """At the end: sandboxes end with their channels, or at the latest with this process."""
        if self._spare is not None:
            self._spare.door.close()
            self._groups[self._spare.process] = self._spare.group
        for number, group in self._groups.items():
            select.select([number], [], [], limits.SANDBOX_END_SECONDS)
            cgroup.remove(group)

    def _order(self) -> int | None:
        """Take one order. Returns a descriptor of a process to wait for, -1, or None at the end."""
        message, fds, _, _ = socket.recv_fds(self._control, 64, 4, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return None
        with open(fds[0], "rb") as file:
            file.seek(0)
            plan = json.load(file)
        with socket.socket(fileno=fds[1]) as channel:
            try:
                begun = self._begin(plan, channel)
                socket.send_fds(self._control, [message], [begun.process])
            except OSError as error:
                failed = json.dumps({"failed": error.strerror or str(error)})
                self._control.send(failed.encode())
                return -1
        if plan["tier"] == "namespaces":
            with contextlib.suppress(OSError):  # the next order makes its own, and tells
                self._spare = self._make()  # while the one who asked does something else
        self._groups[begun.process] = begun.group
        return begun.process

    def _begin(self, plan: dict[str, Any], channel: socket.socket) -> _Begun:
        """A process that carries the plan out."""
        if plan["tier"] != "namespaces":
            pid = calls.fork()
            if pid == 0:
                self._control.close()
                box.main(plan, channel)
            return _Begun(os.pidfd_open(pid), cgroup.NONE, channel)
        if self._unable:
            raise OSError(0, self._unable)
        trees = root.collect(plan, self._names)
        try:
            spare, self._spare = self._spare, None
            if spare is not None:
                try:
                    return self._give(spare, plan, channel, trees)
                except OSError:
                    pass  # it was killed while it waited: a new one says what else is wrong
            return self._give(self._make(), plan, channel, trees)
        finally:
            root.close(trees)

    def _give(
        self, begun: _Begun, plan: dict[str, Any], channel: socket.socket, trees: root.Trees
    ) -> _Begun:
        group, wanted = begun.group, plan["limits"]
        try:
            cgroup.limit(group, wanted["memory_bytes"], wanted["processes"])
            plan["events"] = (group.memory_events, group.pids_events)
            box.hand(begun.door, plan, channel, trees)
        except OSError:
            _end(begun)
            raise
        begun.door.close()
        return begun

    def _make(self) -> _Begun:
        """A process in new namespaces that waits for its plan: making it takes longer than using
        it, so one is always made ahead."""
        system = root.system(self._shelf)
        group = cgroup.make(self._above) if self._above else cgroup.NONE
        door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = calls.fork(calls.WALLS)
            if pid == 0:
                self._control.close()
                door.close()
                box.wait(theirs, self._shelf, group, system, mask=self._user[0] == 0)
        finally:
            theirs.close()
            root.close(system)
        begun = _Begun(os.pidfd_open(pid), group, door)
        try:
            _write_maps(str(pid), (root.UID, root.UID), self._user)
            door.send(b"1")
        except OSError:
            _end(begun)
            raise
        return begun


def _end(begun: _Begun) -> None:
    """End a first process that waits, and let go of all that is its."""
    begun.door.close()
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(begun.process, signal.SIGKILL)
    select.select([begun.process], [], [], limits.SANDBOX_END_SECONDS)
    os.close(begun.process)
    cgroup.remove(begun.group)


def own_mounts(uid: int, gid: int) -> None:
    """Move this process to a mount namespace where it may mount, which still follows the host's.

    Root needs no more; anyone else becomes the master of a user namespace for it.
    """
    calls.unshare(calls.CLONE_NEWNS | (0 if uid == 0 else calls.CLONE_NEWUSER))
    if uid != 0:
        _write_maps("self", (uid, gid), (uid, gid))
    calls.mount("", "/", "", calls.MS_REC | calls.MS_SLAVE)


def _write_maps(pid: str, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside[0]} {outside[0]} 1"),
        ("gid_map", f"{inside[1]} {outside[1]} 1"),
    ):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(text)


def mapping(uid: int) -> int:
    """A user namespace in which ``uid`` is root: what mounts are mapped by. -1: cannot be made."""
    gate, opener = os.pipe()
    pid = calls.fork(calls.CLONE_NEWUSER)
    if pid == 0:
        os.close(opener)
        os.read(gate, 1)
        os._exit(0)
    try:
        _write_maps(str(pid), (0, 0), (uid, uid))
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    finally:
        os.close(opener)
        os.close(gate)
        os.waitpid(pid, 0)


def _hide_arguments() -> None:
    """Commands see this process's copies in /proc: with no name, and no path of the host."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, the 48th and 49th
    ctypes.memset(begin, 0, end - begin)
    with open("/proc/self/comm", "wb") as file:
        file.write(b"holdfast")


def main(number: int) -> None:
    """Serve the socket with this descriptor until it is closed."""
    os.umask(0o022)  # whatever the asking process has: others must be able to enter what is made
    calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is for the one who asks
    _hide_arguments()
    if os.geteuid() == 0:
        os.setgroups([])
    forker = Forker(socket.socket(fileno=number))
    forker.settle()
    for network in (True, False):
        syscalls.program(told=True, network=network)  # once, before the forks
    landlock.version()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # from now on the kernel reaps
    gc.freeze()
    gc.disable()
    forker.serve()
    sys.exit(0)
