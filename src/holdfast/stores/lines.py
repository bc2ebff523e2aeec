"""The file format of an archive: a zstd stream of JSON lines, written and read one at a time.

A head, then blobs and events (each blob before the first event that names it, each run after the
one it forks from), then an end that counts them. Events keep their ids and runs their names, so an
archive proves itself like a journal does.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import msgspec
import zstandard

from holdfast.journal.events import FORMAT, Event, other_roots
from holdfast.journal.proof import references
from holdfast.values import limits
from holdfast.values.errors import Corrupt, Misuse, NotFound, Outside
from holdfast.world import Stage, reachable

VERSION = 1
"""Version of the lines. What they carry has the journal's own `FORMAT`."""


class HeadLine(msgspec.Struct, tag="archive", tag_field="is"):
    """First line. ``runs``: name, and run and position that it forks from; ``lost``: blobs that
    events name and that the source did not have."""

    version: int
    format: int
    runs: list[tuple[str, str, int]]
    lost: list[str] = []


class BlobLine(msgspec.Struct, tag="blob", tag_field="is"):
    """A blob; its name is its hash."""

    content: bytes


class EventLine(msgspec.Struct, tag="event", tag_field="is", omit_defaults=True):
    """An event; payloads and body stand in it byte for byte."""

    run: str
    pos: int
    id: str
    parent: str
    kind: str
    at: int
    world: str
    body: msgspec.Raw
    args: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class EndLine(msgspec.Struct, tag="end", tag_field="is"):
    """Last line: how many there were."""

    events: int
    blobs: int


Line = HeadLine | BlobLine | EventLine | EndLine
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)
_LINE_MOST = limits.PAYLOAD_MAX_BYTES * 3 // 2


class ArchiveWriter:
    """Writes an archive; the file appears under its name when it is complete."""

    def __init__(
        self,
        file: io.BufferedWriter,
        runs: Iterable[tuple[str, str, int]],
        fetch: Callable[[str], bytes],
        lost: Iterable[str] = (),
    ) -> None:
        self.blobs = self.events = 0
        self._fetch = fetch
        self._lost = frozenset(lost)
        self._out = zstandard.ZstdCompressor(level=6).stream_writer(file, closefd=False)
        self._seen: set[str] = set()
        self._worlds: set[str] = set()
        self._stage = Stage(fetch)
        self._line(HeadLine(VERSION, FORMAT, list(runs), sorted(self._lost)))

    def _line(self, line: Line) -> None:
        self._out.write(_encoder.encode(line) + b"\n")

    def add(self, event: Event, whole: bytes | None) -> None:
        """Write an event after the content that it names; ``whole``: its arguments, restored."""
        for skeleton in (whole, event.value):
            for tag, name in references(skeleton) if skeleton else ():
                self._content(name, tag == b"blob")
        for root in (event.world, *other_roots(event.kind, event.body)):
            if root and root not in self._worlds:
                self._worlds.add(root)
                self._world(root)
        self._line(
            EventLine(
                event.run, event.pos, event.id, event.parent, event.kind, event.at, event.world,
                msgspec.Raw(event.body), _raw(event.args), _raw(event.value),
            )
        )  # fmt: skip
        self.events += 1

    def _content(self, name: str, deep: bool) -> None:
        # remembered apart: the same bytes may be a byte string here and a value there
        key = name if deep else "=" + name
        if key in self._seen:
            return
        self._seen.add(key)
        if name in self._lost:
            return
        content = self._fetch(name)
        for tag, inner in references(content) if deep else ():
            self._content(inner, tag == b"blob")
        self._put(name, content)

    def _put(self, name: str, content: bytes) -> None:
        if "+" + name not in self._seen:
            self._seen.add("+" + name)
            self._line(BlobLine(content))
            self.blobs += 1

    def _world(self, root: str) -> None:
        try:
            for name in reachable(self._stage, root, self._worlds):
                if name not in self._lost:
                    self._put(name, self._fetch(name))
        except Corrupt:
            if not self._lost:
                raise

    def end(self) -> None:
        """Finish the file."""
        self._line(EndLine(self.events, self.blobs))
        self._out.flush(zstandard.FLUSH_FRAME)


def _raw(payload: bytes | None) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if payload is None else msgspec.Raw(payload)


@contextlib.contextmanager
def new_file(target: Path) -> Generator[io.BufferedWriter]:
    """A file that gets its name when it is complete. `Misuse` if the name is taken, `Outside`."""
    if target.exists():
        raise Misuse(f"{target}: exists already; choose another name")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        # as private as the store that it came from
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
        part.rename(target)
    except OSError as error:
        raise Outside(f"{target}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of an archive; `Corrupt` names the file and what is wrong with it."""
    number = 0
    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            io.BufferedReader(plain, 1 << 18) as lines,
        ):
            while line := lines.readline(_LINE_MOST):
                number += 1
                yield _decoder.decode(line)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except OSError as error:
        raise Outside(f"{path}: cannot be read: {error.strerror}") from None
    except zstandard.ZstdError as error:
        what = "is not a Holdfast archive" if number == 0 else "is damaged or cut off"
        raise Corrupt(f"{path}: {what} ({error})") from None
    except msgspec.MsgspecError as error:
        what = "is not a Holdfast archive" if number <= 1 else f"line {number} is damaged"
        raise Corrupt(f"{path}: {what} ({error})") from None


def unpacked(line: EventLine) -> Event:
    """The event of a line; stores number it anew."""
    return Event(
        0, line.run, line.pos, line.id, line.parent, line.kind, line.at, line.world,
        bytes(line.body), _payload(line.args), _payload(line.value),
    )  # fmt: skip


def _payload(value: msgspec.Raw | msgspec.UnsetType) -> bytes | None:
    return None if isinstance(value, msgspec.UnsetType) else bytes(value)
