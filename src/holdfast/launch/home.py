"""A private home for a command: links to everything in the real one, but for files that differ."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
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


def gather(real: Path, place: Path, files: Iterable[str]) -> list[str]:
    """Move into ``real`` what a command left in a home that `overlay` made and that is not one of
    ``files``: what is new, and what stands where a link stood. What cannot be moved, as sentences.

    INVARIANT D91: what a command wrote in its home is in the real one, or it is said where it is.
    """
    kept = set(files)
    within = {str(one) for path in kept for one in Path(path).parents}
    found: list[str] = []

    def look(below: str) -> None:
        try:
            with os.scandir(place / below) as there:
                many = sorted(there, key=lambda one: one.name)
        except OSError as error:
            found.append(f"~/{below}: {error.strerror}")
            return
        for one in many:
            path, target = os.path.join(below, one.name), real / below / one.name  # noqa: PTH118
            linked = one.is_symlink() and Path(one.path).readlink() == target
            if path in kept or linked:
                continue
            if path in within and one.is_dir(follow_symlinks=False):
                look(path)
            elif one.is_symlink() or one.is_file() or one.is_dir():
                try:
                    _move(Path(one.path), target)
                except OSError as error:
                    found.append(f"~/{path}: {error.strerror or error}")

    look("")
    return found


def _move(source: Path, target: Path) -> None:
    """Move a file in place of another at once, or a directory where there is nothing."""
    beside = Path(tempfile.mkdtemp(prefix=".holdfast-", dir=target.parent))
    try:
        if os.path.lexists(target) and (source.is_dir() or target.is_dir()):
            raise FileExistsError(None, "something else is there")
        shutil.move(source, beside / target.name)  # maybe from another disk
        try:
            (beside / target.name).replace(target)
        except OSError:
            shutil.move(beside / target.name, source)
            raise
    finally:
        shutil.rmtree(beside)


def _write(path: Path, content: bytes) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
