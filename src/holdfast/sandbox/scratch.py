"""A directory for what a command needs only while it runs, where it has no root of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator
from contextlib import contextmanager

_ABOVE = "/tmp"  # noqa: S108 - private (0700), with a name that cannot be guessed
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def directory() -> Generator[tuple[str, int]]:
    """A new directory with a ``home`` in it, and a descriptor of it; gone with all in it after."""
    place = f"{_ABOVE}/holdfast-{os.urandom(8).hex()}"  # noqa: TID251 - must not be guessed
    os.mkdir(place, 0o700)
    number = os.open(place, _OPEN)
    try:
        os.mkdir("home", 0o700, dir_fd=number)
        yield place, number
    finally:
        os.fchmod(number, 0o700)
        _empty(number)
        os.close(number)
        os.rmdir(place)


def _empty(top: int) -> None:
    """Delete all below, however deep: what lies in a directory is moved up before it goes."""
    numbers, mark = itertools.count(), f"{os.urandom(8).hex()}-"  # noqa: TID251 - as above
    while names := os.listdir(top):
        for name in names:
            try:
                os.unlink(name, dir_fd=top)
                continue
            except IsADirectoryError:
                os.chmod(name, 0o700, dir_fd=top)  # nobody is left who could put a link there
            here = os.open(name, _OPEN, dir_fd=top)
            try:
                for inner in os.listdir(here):
                    try:
                        os.unlink(inner, dir_fd=here)
                    except IsADirectoryError:
                        os.chmod(inner, 0o700, dir_fd=here)
                        own = f"{mark}{next(numbers)}"
                        os.rename(inner, own, src_dir_fd=here, dst_dir_fd=top)
            finally:
                os.close(here)
            os.rmdir(name, dir_fd=top)
