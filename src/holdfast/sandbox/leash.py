"""A command on a leash: it works as its caller would let it, but what it starts ends with it, and
all of it ends with whoever holds the leash. No walls: for these see `holdfast.sandbox.client`.

`main` is a process of its own between the two, at the command's terminal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from pathlib import Path
from typing import NoReturn

from holdfast.sandbox import calls

PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that are the command's to answer."""
_TROUBLE = {errno.ENOENT: 127, errno.ENOTDIR: 127}


def main(channel: int, command: list[str], *, group: bool) -> NoReturn:
    """Be the holder's end of the leash. Each byte that comes through ``channel`` is a signal for
    the command (``group``: for its process group, which is this one's); its end is the end of all.
    The exit code is the command's as shells say it: 128 and the signal, 127, 126."""
    code = 126
    try:
        calls.prctl(calls.PR_SET_CHILD_SUBREAPER, 1)
        os.set_inheritable(channel, False)
        for number in PASSED:
            signal.signal(number, signal.SIG_IGN)
        woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, _wake)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        pid = os.fork()
        if pid == 0:
            _become(command)
        code = _follow(pid, channel, woken, group=group)
    finally:
        # INVARIANT D80: no process that the command started outlives it, nor the holder
        _end_all()
        os._exit(code)


def _become(command: list[str]) -> NoReturn:
    code = 126
    try:
        signal.set_wakeup_fd(-1)
        for number in (*PASSED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execvp(command[0], command)  # noqa: S606 - there is no shell
    except OSError as error:
        code = _TROUBLE.get(error.errno or 0, 126)
        os.write(2, f"holdfast: {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(code)


def _follow(pid: int, channel: int, woken: int, *, group: bool) -> int:
    """Until the command has ended, or its holder has; the exit code."""
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(channel, select.POLLIN)
    while True:
        for number, _ in poll.poll():
            if number == woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
            elif not (orders := os.read(channel, 64)):
                return 137
            else:
                for order in orders:
                    _pass_on(pid, order, group=group)
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 126
            if not ended:
                break
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def _pass_on(pid: int, number: int, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL:
            os.kill(pid, number)
        elif group:
            os.killpg(os.getpgrp(), number)  # this process ignores it
        else:
            os.kill(pid, number)


def _end_all() -> None:
    """Kill what is left; whatever loses its parent becomes a child of this process."""
    while True:
        ours = _children()
        for one in ours:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        try:
            os.waitpid(-1, 0 if ours else os.WNOHANG)
        except ChildProcessError:
            return


def _children() -> list[int]:
    own, found = str(os.getpid()), list[int]()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                # "pid (name) state parent ...": the name may hold anything
                told = (place / "stat").read_text("utf-8", "replace").rpartition(")")[2]
                if told.split()[1] == own:
                    found.append(int(place.name))
    return found


def _wake(*_: object) -> None:
    """A signal with a handler is written to the descriptor that wakes the loop."""
