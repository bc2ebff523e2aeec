"""Limits of memory and processes together, by control groups where this process may make them.

Both versions of the kernel's interface. Where neither can be written, the watch and the rlimits
hold alone (see docs/sandbox.md): this is one more wall, never the only one.
"""

from __future__ import annotations

import itertools
import os
from typing import NamedTuple

_KINDS = ("memory", "pids")
_PREFIX = "holdfast-"
_numbers = itertools.count(1)


class Group(NamedTuple):
    """The directories of one sandbox; descriptors of the files by which a process enters them, and
    of those that count refusals; the files that take the limits."""

    places: tuple[str, ...]
    doors: tuple[int, ...] = ()
    memory_events: int = -1
    pids_events: int = -1
    limits: tuple[tuple[str, str], ...] = ()


NONE = Group(())
"""Where no group can be made."""


def parents() -> dict[str, str]:
    """For "memory" and "pids": a directory in which groups with limits may be made, if any."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            own = [line.rstrip("\n").split(":", 2) for line in file]
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return {}
    found: dict[str, str] = {}
    for fields in mounts:
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        for _, names, path in own:
            if kind == "cgroup2" and not names:
                place = _below(fields, path)
                for candidate in (place, os.path.dirname(place)):
                    for name in _enabled(candidate):
                        found.setdefault(name, candidate)
            elif kind == "cgroup" and names:
                for name in set(names.split(",")) & set(options) & set(_KINDS):
                    place = _below(fields, path)
                    if os.access(place, os.W_OK):
                        found[name] = place
    return found


def _below(fields: list[str], path: str) -> str:
    """Where a group is seen: a mount may show only a part of the tree."""
    shown, place = fields[3], fields[4]
    rest = path[len(shown) :] if shown != "/" and path.startswith(shown) else path
    return os.path.normpath(f"{place}/{rest}")


def _enabled(place: str) -> list[str]:
    """Kinds that groups made at ``place`` (version 2) would have, if this process may."""
    try:
        with open(f"{place}/cgroup.subtree_control", encoding="utf-8") as file:
            enabled = file.read().split()
    except OSError:
        return []
    writable = os.access(place, os.W_OK) and os.access(f"{place}/cgroup.procs", os.W_OK)
    return [name for name in _KINDS if name in enabled] if writable else []


def make(above: dict[str, str]) -> Group:
    """A group without limits. OSError: it cannot be made."""
    name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    group = Group(tuple(sorted({f"{place}/{name}" for place in above.values()})))
    try:
        for place in group.places:
            os.mkdir(place)
            door = os.open(f"{place}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            group = group._replace(doors=(*group.doors, door))
        for kind, place in above.items():
            one = kind == "memory" and os.path.exists(f"{place}/{name}/memory.limit_in_bytes")
            limit = "memory.limit_in_bytes" if one else f"{kind}.max"
            told = "memory.oom_control" if one else f"{kind}.events"
            events = os.open(f"{place}/{name}/{told}", os.O_RDONLY | os.O_CLOEXEC)
            limits = (*group.limits, (kind, f"{place}/{name}/{limit}"))
            group = group._replace(limits=limits, **{f"{kind}_events": events})
    except OSError:
        remove(group)
        raise
    return group


def limit(group: Group, memory_bytes: int, processes: int) -> None:
    """Set the limits of a group; 0: none. Process 1 of a sandbox is not counted."""
    for kind, path in group.limits:
        amount = memory_bytes if kind == "memory" else processes and processes + 1
        if amount:
            with open(path, "w", encoding="ascii") as file:
                file.write(str(amount))


def enter(group: Group) -> None:
    """Put this process, and the children that it will have, into the group. It may take 10 ms: the
    kernel waits until nobody forks."""
    for door in group.doors:
        os.write(door, b"0")


def clear(above: dict[str, str]) -> None:
    """Take away what helpers left that were killed: empty groups of processes that are gone."""
    for place in set(above.values()):
        for name in os.listdir(place):
            owner = name.removeprefix(_PREFIX).partition("-")[0]
            if name.startswith(_PREFIX) and not os.path.exists(f"/proc/{owner}"):
                remove(Group((f"{place}/{name}",)))


def remove(group: Group) -> bool:
    """Take the group away; False if processes are still in it."""
    for number in (*group.doors, group.memory_events, group.pids_events):
        if number >= 0:
            os.close(number)
    left = False
    for place in group.places:
        try:
            os.rmdir(place)
        except FileNotFoundError:
            continue
        except OSError:
            left = True
    return not left


def count(events: int, word: bytes) -> int:
    """How often the kernel refused or killed, from a file of events; 0 if there is none."""
    if events < 0:
        return 0
    for line in os.pread(events, 4096, 0).splitlines():
        name, _, number = line.partition(b" ")
        if name == word:
            return int(number)
    return 0
