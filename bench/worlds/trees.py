"""Trees of files to measure on, made from seeds."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = [
    "def", "return", "import", "class", "self", "value", "for", "in", "if", "else", "not", "None",
    "state", "event", "step", "journal", "world", "branch", "=", "(", ")", ":", "+", "0", "1", "[]",
]  # fmt: skip
PER_FOLDER = 100


def source(dice: random.Random, size: int) -> bytes:
    """Text that compresses about as source code does."""
    words = dice.choices(WORDS, k=size // 5 + 1)
    lines = [
        " ".join(words[i : i + 9]) + f" # {dice.random():.17f}" for i in range(0, len(words), 9)
    ]
    return "\n".join(lines).encode()[:size]


def many(top: Path, count: int, seed: int = 1) -> None:
    """``count`` files of source-like sizes (median 2 kB, mean 3.3 kB), 100 to a directory."""
    dice = random.Random(seed)
    pool = [source(dice, 40_000) for _ in range(20)]
    for number in range(count):
        folder = top / f"d{number // (PER_FOLDER * 20):03}" / f"e{number // PER_FOLDER:04}"
        if number % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        size = min(38_000, int(dice.lognormvariate(7.6, 1.0)))
        start = dice.randrange(0, 40_000 - size)
        body = b"# %d\n" % number + dice.choice(pool)[start : start + size]
        (folder / f"f{number:06}.py").write_bytes(body)


def few(top: Path, count: int, size: int, seed: int = 1) -> None:
    """``count`` files of ``size`` bytes each, half of it incompressible."""
    dice = random.Random(seed)
    for number in range(count):
        with (top / f"large{number:02}.bin").open("wb") as file:
            for _ in range(size // 65_536):
                file.write(dice.randbytes(32_768) + bytes([dice.randrange(256)]) * 32_768)


def files(top: Path) -> list[Path]:
    """All files of a tree, sorted."""
    return sorted(path for path in top.rglob("*") if path.is_file() and ".git" not in path.parts)
