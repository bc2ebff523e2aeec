"""Exact loops: the same calls with the same results, one after the other, again and again."""

from __future__ import annotations

import zlib

import msgspec

from holdfast.journal.like import is_short
from holdfast.values import limits


class Loop(msgspec.Struct, gc=False):
    """The newest calls of a run as fingerprints, newest last; ``same``: for each length of a cycle
    from 1 on, how many calls in a row equal the one so many before."""

    calls: list[int]
    same: list[int]


def no_loop() -> Loop:
    """No call yet."""
    return Loop([], [0] * limits.ANOMALY_CYCLE_STEPS)


def marked(args: bytes | None) -> int:
    """A number for the arguments of a call; equal ones have equal numbers."""
    if args is None:
        return 0
    if is_short(args):  # what it adds to, and from where, but not to which
        args = args[args.index(b",") :]
    return zlib.crc32(args)


def fingerprint(mark: int, name: str, status: str, value: bytes | None) -> int:
    """A number for a call, by its `marked` arguments, with its result."""
    found = zlib.crc32(f"{name} {status} ".encode(), mark)
    return found if value is None else zlib.crc32(value, found)


def repeats(loop: Loop, call: int) -> tuple[int, int]:
    """Take in a call: how many times in a row the last few calls were the same, and how many these
    few are (1: one call); (1, 1) for no loop."""
    calls, same = loop.calls, loop.same
    best, length = 1, 1
    for place, other in enumerate(reversed(calls)):
        if other == call:
            same[place] += 1
            times = same[place] // (place + 1) + 1
            if times > best:
                best, length = times, place + 1
        else:
            same[place] = 0
    calls.append(call)
    if len(calls) > limits.ANOMALY_CYCLE_STEPS:
        del calls[0]
    return best, length
