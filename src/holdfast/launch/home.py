"""A private home for a command: links to everything in the real one, but for files that differ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def overlay(real: Path, place: Path, files: Mapping[str, bytes]) -> None:
    """Make ``place`` a home that is as ``real``, but that ``files`` (by path in it) have other
    content. What is written below a link is written in the real home; those files are not.

    INVARIANT D83: nothing in the real home is changed by making it.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    below: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            below.setdefault(head, {})[rest] = content
        else:
            _write(place / head, content)
    with os.scandir(real) as there:
        names = [one.name for one in there]
    for name in names:
        if name not in below and name not in files:
            (place / name).symlink_to(real / name)
    for head, rest in below.items():
        overlay(real / head, place / head, rest)


def _write(path: Path, content: bytes) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
