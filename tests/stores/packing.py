"""A process of its own that packs, for tests that kill it.

python packing.py append DIRECTORY RUN COUNT   append large steps, compact now and then; prints the
                                               hash of each content that was acknowledged
python packing.py crashes DIRECTORY            die at every write in turn, and look each time
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.journal.events import Draft, Plan, RunEnded, RunStarted, StepSettled
from holdfast.journal.store import Batch
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import Blobs, digest, pack

CALLS = ("pwritev", "fdatasync", "fsync", "ftruncate", "unlink", "open")


def noise(text: str) -> bytes:
    return b"".join(bytes.fromhex(digest(f"{text} {n}".encode())) for n in range(600))


def run_of(name: str, ended: bool) -> tuple[Batch, Blobs]:
    """A run with one large value."""
    blobs: Blobs = {}
    value = pack(noise(name), blobs)
    drafts = [
        Draft(RunStarted("t"), 5), Draft(StepSettled("1", Plan("x")), 5, value=value),
    ]  # fmt: skip
    drafts += [Draft(RunEnded("done"), 6)] * ended
    return Batch(name, tuple(drafts), -1), blobs


def append(directory: str, run: str, count: int) -> None:
    store = SqliteStore(directory)
    for number in range(count):
        batch, blobs = run_of(f"{run}-{number}", ended=False)
        store.append_now((batch,), blobs)
        print(*blobs, flush=True)
        store.append_now(*_garbage(run, number))
        if number % 10 == 9:
            collect(store, ended_before=100, grace_ms=0, compact=True)
    store._writer.close()


def _garbage(run: str, number: int) -> tuple[tuple[Batch], Blobs]:
    batch, blobs = run_of(f"{run}-old-{number}", ended=True)
    return (batch,), blobs


def scenario(place: Path, say: Callable[[str], None]) -> None:
    """Append, delete, compact, append."""
    store = SqliteStore(place)
    for number in range(3):
        for ended in (True, False):
            batch, blobs = run_of(f"{'old' if ended else 'new'}-{number}", ended)
            store.append_now((batch,), blobs)
            if not ended:
                say("".join(blobs))
    collect(store, ended_before=100, grace_ms=0, compact=True)
    batch, blobs = run_of("last", ended=False)
    store.append_now((batch,), blobs)
    say("".join(blobs))
    store._writer.close()


def die_at(number: int, half: bool) -> None:
    """From now on, the n-th call that touches a pack is the last thing this process does."""
    left = [number]

    def deadly(name: str, real: Callable[..., int]) -> Callable[..., int]:
        def call(*words: Any, **more: Any) -> int:
            concerns = "pack." in str(words[0]) if name in ("unlink", "open") else name != "fsync"
            left[0] -= concerns or name == "fsync"
            if left[0] == 0:
                if half and name == "pwritev":
                    _half(real, *words)
                elif half:
                    real(*words, **more)
                os._exit(9)
            return real(*words, **more)

        return call

    for name in CALLS:
        setattr(os, name, deadly(name, getattr(os, name)))


def _half(real: Callable[..., int], opened: int, pieces: list[memoryview], at: int) -> None:
    real(opened, [bytes(pieces[0])[: len(pieces[0]) // 2]], at)


def crashes(top: Path) -> None:
    tried = 0
    for half in (False, True):
        number, died = 0, True
        while died:
            number += 1
            place = top / f"{half}-{number}"
            died, said = _life(place, number, half)
            tried += died
            _look(place, said)
            shutil.rmtree(place)
    print(tried)


def _life(place: Path, number: int, half: bool) -> tuple[bool, list[str]]:
    """One process that dies at its n-th write; whether it did, and what it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()  # this process has one thread
    if child == 0:
        os.close(reading)
        die_at(number, half)
        scenario(place, lambda text: print(os.write(writing, text.encode() + b"\n"), end=""))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read().split()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), code
    return code == 9, said


def _look(place: Path, said: list[str]) -> None:
    """What was said is there, and the store goes on."""
    if (place / "journal.db").exists():
        report = check(place)
        assert report.problems == [], (place, report.problems)
    store = SqliteStore(place)
    for name in said:
        assert digest(store.get(name)) == name
    batch, blobs = run_of("after", ended=False)
    store.append_now((batch,), blobs)
    collect(store, ended_before=100, grace_ms=0, compact=True)
    for name in (*said, *blobs):
        assert digest(store.get(name)) == name
    known = {f"pack.{number}" for (number,) in store.reader().execute("SELECT n FROM pack")}
    assert known == {path.name for path in place.glob("pack.*")}, place
    store._writer.close()
    report = check(place)
    assert (report.problems, report.unused) == ([], 0), (place, report)


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "append":
        append(rest[0], rest[1], int(rest[2]))
    else:
        crashes(Path(rest[0]))
