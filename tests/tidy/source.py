"""What the tidy tests look at: the package's syntax trees, the repository's files, exceptions.

A rule yields *findings*: a place (``src/holdfast/room/file.py:Class.name``) and what is wrong.
`hold` compares them with ``exceptions.toml``, whose entries must all still be needed.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "holdfast"
CORE_ROOMS = frozenset({"values", "journal", "world", "gate", "engine"})

Finding = tuple[str, str | int]
"""A place, and what is wrong there: a sentence, or the number that is over a limit."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Python file of the package."""

    path: str
    room: str
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, text: str, *, path: str = "src/holdfast/engine/sample.py") -> Module:
        room = path.split("/")[2].removesuffix(".py")
        return cls(path=path, room=room, text=text, tree=ast.parse(text, path))


@functools.cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    return tuple(
        Module.parse(path.read_text(encoding="utf-8"), path=path.relative_to(ROOT).as_posix())
        for path in sorted(PACKAGE.rglob("*.py"))
    )


def named(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every class and function below ``tree`` with its dotted name, nested ones included."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{child.name}"
            yield name, child
            yield from named(child, f"{name}.")
        else:
            yield from named(child, prefix)


def functions(tree: ast.AST) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, node in named(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, node


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every absolute import below ``tree``: the statement and the dotted name it asks for.

    ``from a.b import c`` asks for ``a.b.c``.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}"


_SKIPPED = frozenset(
    ".git .venv .venv-bench .demo .cache .holdfast .hypothesis .import_linter_cache .pytest_cache "
    ".ruff_cache __pycache__ build dist".split()
)


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file of the repository that git tracks or would track (without git: all but caches)."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [
            path for path in ROOT.rglob("*") if not _SKIPPED & set(path.relative_to(ROOT).parts)
        ]
    return tuple(sorted(path for path in set(paths) if path.is_file() and not path.is_symlink()))


@functools.cache
def texts() -> tuple[tuple[str, str], ...]:
    """Path and content of every text file of the repository."""
    found: list[tuple[str, str]] = []
    for path in files():
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((path.relative_to(ROOT).as_posix(), content.decode("utf-8")))
    return tuple(found)


@functools.cache
def document(name: str) -> str:
    """The text of a document; a missing one fails the test that asks for it."""
    path = ROOT / name
    if not path.is_file():
        pytest.fail(f"{name} is not written yet")
    return path.read_text(encoding="utf-8")


@functools.cache
def exceptions() -> dict[str, dict[str, dict[str, str | int]]]:
    """Rule, then place, then ``reason`` and (for numbers) ``at``."""
    return tomllib.loads((ROOT / "tests/tidy/exceptions.toml").read_text(encoding="utf-8"))


def hold(rule: str, findings: Iterable[Finding]) -> None:
    """Fail with every finding that is not excepted, and every exception that has no finding."""
    allowed = exceptions().get(rule, {})
    found = dict(findings)
    problems: list[str] = []
    for place, what in found.items():
        entry = allowed.get(place)
        if entry is None:
            problems.append(f"{place}: {what}")
        elif isinstance(what, int) and what != entry.get("at"):
            change = "grew to" if what > int(entry.get("at", 0)) else "shrank: now set the entry to"
            problems.append(f"{place}: excepted at {entry.get('at')}, {change} {what}")
    problems += [
        f"{place}: no longer needs its entry under [{rule}] in exceptions.toml: remove it"
        for place in allowed
        if place not in found
    ]
    if problems:
        pytest.fail(f"{rule}:\n  " + "\n  ".join(problems), pytrace=False)
