"""The first process of a sandbox: builds its root, then starts commands, watches and ends them.

As process 1 of its pid namespace it cannot be signalled from inside, gets every orphan, and with
its end all ends. Without namespaces it is a subreaper instead. INVARIANT S4: no process outlives
the command that started it, nor the sandbox, nor the process that asked for it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from holdfast.sandbox import calls, cgroup, landlock, root, scratch, syscalls, watch

_TREES = 250  # as many descriptors as Linux passes at once, and a few less
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT)


def hand(
    door: socket.socket, plan: dict[str, Any], channel: socket.socket, trees: root.Trees
) -> None:
    """Give a process that waits at ``door`` what it needs to begin."""
    order = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        os.write(order, json.dumps([plan, [target for target, _ in trees]]).encode())
        numbers = [order, channel.fileno(), *(tree for _, tree in trees)]
        socket.send_fds(door, [b"plan"], numbers)
    finally:
        os.close(order)


def wait(
    door: socket.socket, shelf: str, group: cgroup.Group, system: root.Trees, *, mask: bool
) -> NoReturn:
    """Be made ahead: do what no plan changes once the maps of users stand, begin when it comes."""
    rules, failed = -1, None
    try:
        calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):  # the watch and the rlimits hold without it
            cgroup.enter(group)
        if not door.recv(1):
            os._exit(0)  # whoever made it could not go on
        try:
            rules = _settle(shelf, system, mask)
        except OSError as error:
            failed = error  # whoever asks for a sandbox must hear of it
        message, fds, _, _ = socket.recv_fds(door, 64, _TREES, socket.MSG_CMSG_CLOEXEC)
        if message:
            with open(fds[0], "rb") as file:
                file.seek(0)
                plan, targets = json.load(file)
            trees = list(zip(targets, fds[2:], strict=True))
            channel = socket.socket(fileno=fds[1])
            _live(channel, lambda: _alone(plan, trees, channel, rules, failed))
    finally:
        os._exit(0)


def main(plan: dict[str, Any], channel: socket.socket) -> NoReturn:
    """Hold a sandbox without namespaces."""
    _live(channel, lambda: _among(plan, channel))


def _live(channel: socket.socket, make: Callable[[], Box]) -> NoReturn:
    """Make the box and live until the other end of ``channel`` is closed."""
    try:
        make().serve()
    except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked must hear of it
        said = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):  # nobody is left who would hear it
            channel.send(json.dumps({"failed": said or str(error)}).encode())
    finally:
        os._exit(0)


def _among(plan: dict[str, Any], channel: socket.socket) -> Box:
    calls.prctl(calls.PR_SET_CHILD_SUBREAPER, 1)
    changes = os.open(plan["world"]["path"], os.O_RDONLY | os.O_DIRECTORY)
    rules = -1
    if plan["tier"] != "none":
        calls.drop_bounds()
    if plan["tier"] != "none" and landlock.version():
        paths = (*root.seen(), *plan["readable"])
        rules = landlock.ruleset(network=False)
        landlock.grant(rules, [(path, landlock.RUN) for path in paths])
        landlock.grant(rules, [(path, landlock.DEVICE) for path in root.device_paths()])
        landlock.grant(rules, [(plan["world"]["path"], landlock.WRITE)])
    return Box(plan, channel, changes, rules)


def _alone(
    plan: dict[str, Any],
    trees: root.Trees,
    channel: socket.socket,
    rules: int,
    failed: OSError | None,
) -> Box:
    if failed is not None:
        raise failed
    changes = root.finish(plan, trees)
    if rules >= 0:
        own = ("/tmp", "/dev/shm", plan["at"])  # noqa: S108 - the sandbox's own
        landlock.grant(rules, [(path, landlock.WRITE) for path in own])
    return Box(plan, channel, changes, rules)


def _settle(shelf: str, system: root.Trees, mask: bool) -> int:
    """Become the user inside and build what no plan changes. Returns what Landlock lets a command
    touch of it, -1 without Landlock. With a root of its own this is the second wall."""
    os.setresgid(root.UID, root.UID, root.UID)
    os.setresuid(root.UID, root.UID, root.UID)
    calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)  # forgotten when the user changed
    os.umask(0o022)
    root.begin(shelf, system, mask=mask)
    calls.sethostname("holdfast")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # its own loopback: up
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
    calls.drop_bounds()
    if not landlock.version():
        return -1
    rules = landlock.ruleset(network=True)
    shown = [(".", landlock.RUN), ("proc", landlock.READ), ("dev", landlock.DEVICE)]
    landlock.grant(rules, shown)
    return rules


def _close_all_but(*kept: int) -> None:
    low = 3
    for number in sorted({one for one in kept if one >= low}):
        os.closerange(low, number)
        low = number + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _wake(*_: object) -> None:
    """A signal with a handler is written to the descriptor that wakes the loop."""


class Box:
    """The process that holds a sandbox, with one command at a time."""

    def __init__(
        self, plan: dict[str, Any], channel: socket.socket, changes: int, rules: int
    ) -> None:
        self._plan, self._channel, self._changes = plan, channel, changes
        self._alone = plan["tier"] == "namespaces"
        self._walls = plan["tier"] != "none"
        self._rules = rules
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        if self._walls:
            self._filter = syscalls.program(told=True, network=self._alone)
            calls.prctl(calls.PR_SET_DUMPABLE, 0)
            # for a fresh /tmp between commands; a command gives it up before it begins
            calls.drop_capabilities(calls.CAP_SYS_ADMIN if self._alone else 0)
            calls.prctl(calls.PR_SET_NO_NEW_PRIVS, 1)
        self._events = plan.get("events", (-1, -1))
        _close_all_but(channel.fileno(), changes, self._rules, *self._events)
        self._kept = root.keep(plan) if self._alone else []
        self._woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, _wake)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Run what is asked for until the other end of the channel is closed."""
        if self._plan["network"]:
            with socket.create_server(("127.0.0.1", 0)) as door:
                said = json.dumps({"ready": door.getsockname()[1]}).encode()
                socket.send_fds(self._channel, [said], [door.fileno()])
        for port in self._plan["doors"]:
            with socket.create_server(("127.0.0.1", port)) as door:
                said = json.dumps({"ready": port}).encode()
                socket.send_fds(self._channel, [said], [door.fileno()])
        while True:
            message, fds, _, _ = socket.recv_fds(self._channel, 64, 4, socket.MSG_CMSG_CLOEXEC)
            if not message:
                return
            with open(fds[0], "rb") as file:
                file.seek(0)
                order = json.load(file)
            ended = self._run(order, fds[1], fds[2])
            self._channel.send(json.dumps(ended).encode())
            if self._alone:
                self._kept = root.freshen(self._plan, self._kept)
                self._grant_scratch()

    def _grant_scratch(self) -> None:
        """Let commands write to what is new since `_alone`."""
        if self._rules >= 0:
            paths = ("/tmp", "/dev/shm")  # noqa: S108 - the sandbox's own
            landlock.grant(self._rules, [(path, landlock.WRITE) for path in paths])

    def _run(self, order: dict[str, Any], out: int, err: int) -> dict[str, Any]:
        if self._alone:
            return self._run_in(order, out, err, ())
        with scratch.directory() as (place, number):  # S6: new for each command here too
            if self._rules >= 0:
                landlock.grant(self._rules, [(place, landlock.WRITE)])
            own = {"TMPDIR": place, "HOME": f"{place}/home"}
            order["environment"] = own | order["environment"]
            return self._run_in(order, out, err, (number,))

    def _run_in(
        self, order: dict[str, Any], out: int, err: int, more: tuple[int, ...]
    ) -> dict[str, Any]:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            self._become(order, (out, err), theirs)
        os.close(out)
        os.close(err)
        theirs.close()
        with mine:
            listeners = socket.recv_fds(mine, 1, 1, socket.MSG_CMSG_CLOEXEC)[1]
        seen = watch.Watch(
            order["limits"], changes=(self._changes, *more), events=self._events, pid=pid,
            alone=self._alone,
        )  # fmt: skip
        try:
            self._follow(seen, listeners)
        finally:
            seen.end()
            for number in listeners:
                os.close(number)
        return seen.told()

    def _follow(self, seen: watch.Watch, listeners: list[int]) -> None:
        """Until the command has ended, or must; the same if the client has gone."""
        poll = select.poll()
        for number in (self._woken, self._channel.fileno(), *listeners):
            poll.register(number, select.POLLIN)
        while not seen.over:
            for number, found in poll.poll(seen.patience_ms()):
                if number == self._woken:
                    os.read(self._woken, 4096)
                elif number == self._channel.fileno():
                    return
                elif found & select.POLLIN:
                    seen.refuse(syscalls.answer(number))
                else:
                    poll.unregister(number)  # nobody is left whom it could tell of
            seen.look()

    def _become(
        self, order: dict[str, Any], streams: tuple[int, int], theirs: socket.socket
    ) -> NoReturn:
        """In the forked child: be the command."""
        code = 126
        try:
            signal.set_wakeup_fd(-1)
            for number in _RESET:
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            os.dup2(streams[0], 1)
            os.dup2(streams[1], 2)
            os.chdir(order["cwd"])
            watch.set_rlimits(order["limits"])
            calls.prctl(calls.PR_SET_DUMPABLE, 1)  # to own its files in /proc, as exec would
            own = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            os.write(own, b"500")  # if memory runs out: rather this one than process 1
            if self._walls:
                calls.drop_capabilities()
            if self._rules >= 0:
                landlock.enter(self._rules)
            if self._walls:
                listener = syscalls.install(self._filter, told=True)
                socket.send_fds(theirs, [b"1"], [listener])
                os.close(listener)
            os.closerange(
                3, os.sysconf("SC_OPEN_MAX")
            )  # all are closed by exec too: both must hold
            os.execvpe(order["command"][0], order["command"], order["environment"])  # noqa: S606
        except OSError as error:
            code = 127 if error.errno == errno.ENOENT else 126
            os.write(2, f"holdfast: {order['command'][0]}: {error.strerror}\n".encode())
        finally:
            os._exit(code)
