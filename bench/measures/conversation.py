"""A conversation of 200 turns, 1 kB a turn, sent whole at every turn: bytes on disk."""

from __future__ import annotations

import random
import sqlite3
import string
from pathlib import Path

import holdfast
from bench import programs
from bench.ground import Ground
from bench.report import Figure

TURNS = 200
ASKED, REPLIED = 300, 700
WORDS = """
the of and to a in is it you that he was for on are with as his they at be this from have or by
one had not but what all were when we there can an your which their said if do will each about
how up out them then she many some so these would other into has more her two like him see time
could no make than first been its who now people my made over did down only way find use may
water long little very after words called just where most know function returns error test
module value index list file line change because before should check again answer question
result number string expected
""".split()


def noise(dice: random.Random, chars: int) -> str:
    """Random printable text: at 6.2 bits a character it can be shortened by a fifth at most."""
    return "".join(dice.choices(string.ascii_letters + string.digits + "+/-_ .", k=chars))


def prose(dice: random.Random, chars: int) -> str:
    """Words in the frequencies of English, more or less."""
    weights = [1 / (rank + 3) for rank in range(len(WORDS))]
    text = ""
    while len(text) < chars:
        text += " ".join(dice.choices(WORDS, weights, k=12)).capitalize() + ". "
    return text[:chars]


async def measure(ground: Ground) -> list[Figure]:
    figures: list[Figure] = []
    for kind, make in (("random text", noise), ("English-like text", prose)):
        dice = random.Random(7)
        said = [make(dice, ASKED if turn % 2 == 0 else REPLIED) for turn in range(2 * TURNS)]
        distinct = sum(map(len, said))
        folder = ground.folder("conversation")
        script = folder / "script"
        script.write_text("\n".join(said))
        settings = ground.settings(folder)
        empty = ground.settings(ground.folder("empty"))
        async with holdfast.Runtime(settings) as runtime:
            handle = await runtime.start(programs.converses, str(script), TURNS)
            assert await handle.result() == 2 * TURNS + 1
        async with holdfast.Runtime(empty):
            pass
        size, log = _size(settings.directory)
        floor, _ = _size(empty.directory)
        title = f"{TURNS}-turn conversation, {kind}"
        whole, grown = size / distinct, (size - floor) / distinct
        figures += [
            Figure(f"{title}: store / distinct bytes", whole, "x", "<= 1.5 x", whole <= 1.5,
                   note=f"{size:,} bytes for {distinct:,}, log {log:,}; "
                   f"{_parts(settings.directory)}; LangGraph 105 kB a turn at 200 turns "
                   "(quoted from research, not measured here)"),
            Figure(f"{title}: growth of the store / distinct bytes", grown, "x", "<= 1.5 x",
                   grown <= 1.5, note=f"without the {floor:,} bytes of an empty store"),
        ]  # fmt: skip
    return figures


def _size(store: Path) -> tuple[int, int]:
    """Bytes of the database once its log is moved into it, and of the log that remains."""
    conn = sqlite3.connect(store / "journal.db")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log = store / "journal.db-wal"
    left = log.stat().st_size if log.exists() else 0
    conn.close()
    packs = sum(path.stat().st_size for path in store.glob("pack.*"))
    return (store / "journal.db").stat().st_size + packs, left


def _parts(store: Path) -> str:
    """Where the bytes are."""
    conn = sqlite3.connect(store / "journal.db")
    blobs, content = conn.execute(
        "SELECT count(*), sum(coalesce(size, length(data))) FROM blob"
    ).fetchone()
    count, body, args, value = conn.execute(
        "SELECT count(*), sum(length(body)), sum(length(args)), sum(length(value)) FROM event"
    ).fetchone()
    free = conn.execute("PRAGMA freelist_count").fetchone()[0]
    conn.close()
    return (
        f"{blobs} blobs {content:,}, {count} events: bodies {body:,}, args {args:,}, "
        f"values {value:,}, free pages {free}"
    )
