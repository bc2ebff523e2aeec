"""The helper: a small fresh process that forks sandboxes.

Forking from it is cheap and safe (one thread, little memory), which it is not from the process that
asks. It reads one order at a time from its socket and ends when that is closed.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from typing import Any

from holdfast.sandbox import box, calls, root

OVERFLOW_UID = 65534
"""Whom root's commands are outside: a user who owns nothing."""


class Helper:
    """What the helper knows for all sandboxes. ``names``: maps root's files to the user inside."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._names = -1
        self._user = os.geteuid(), os.getegid()
        if self._user[0] == 0:
            self._names = _mapping(OVERFLOW_UID)
            if self._names >= 0:
                self._user = OVERFLOW_UID, OVERFLOW_UID

    def serve(self) -> None:
        """Fork a sandbox for each order."""
        while True:
            message, fds, _, _ = socket.recv_fds(self._control, 64, 4)
            if not message:
                return
            with open(fds[0], "rb") as file:
                file.seek(0)
                plan = json.load(file)
            channel = socket.socket(fileno=fds[1])
            try:
                pid = self._fork(plan, channel)
                number = os.pidfd_open(pid)
                socket.send_fds(self._control, [message], [number])
                os.close(number)
            except OSError as error:
                channel.send(json.dumps({"failed": error.strerror or str(error)}).encode())
                socket.send_fds(self._control, [message], [])
            channel.close()

    def _fork(self, plan: dict[str, Any], channel: socket.socket) -> int:
        walled = plan["tier"] == "namespaces"
        trees: root.Trees = []
        if walled and self._names >= 0:
            trees = root.system_trees() + root.world_trees(plan, self._names)
        gate, opener = os.pipe()
        pid = calls.fork(calls.WALLS if walled else 0)
        if pid == 0:
            self._control.close()
            os.close(opener)
            box.main(plan, trees, channel, gate)
        for _, tree in trees:
            os.close(tree)
        os.close(gate)
        try:
            if walled:
                _write_maps(pid, (root.UID, root.UID), self._user)
        finally:
            os.close(opener)
        return pid


def _write_maps(pid: int, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside[0]} {outside[0]} 1"),
        ("gid_map", f"{inside[1]} {outside[1]} 1"),
    ):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _mapping(uid: int) -> int:
    """A user namespace in which ``uid`` is root: what mounts are mapped by. -1: cannot be made."""
    gate, opener = os.pipe()
    pid = calls.fork(calls.CLONE_NEWUSER)
    if pid == 0:
        os.close(opener)
        os.read(gate, 1)
        os._exit(0)
    try:
        _write_maps(pid, (0, 0), (uid, uid))
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    finally:
        os.close(opener)
        os.close(gate)
        os.waitpid(pid, 0)


def main(number: int) -> None:
    """Serve the socket with this descriptor until it is closed."""
    calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is for the one who asks
    if os.geteuid() == 0:
        os.setgroups([])
    helper = Helper(socket.socket(fileno=number))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # from now on the kernel reaps
    gc.freeze()
    gc.disable()
    helper.serve()
    sys.exit(0)
