"""A configuration's file: read, written whole or not at all, backed up, and brought back."""

from __future__ import annotations

import difflib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.cli.installing.showing import shown
from holdfast.launch import jsonc
from holdfast.values.canon import digest
from holdfast.values.errors import Conflict, Misuse, NotFound
from holdfast.values.masking import masked

_WORDS = ("command", "args", "url", "serverUrl", "httpUrl")
_SECRET = ("env", "environment", "headers", "http_headers", "requestInit")


def form_of(path: Path) -> ModuleType:
    """What reads and changes a file of this kind."""
    if path.suffix != ".toml":
        return jsonc
    from holdfast.cli.installing import toml

    return toml


def load(path: Path) -> bytes:
    """A file's content; `NotFound`, `Misuse` name it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such configuration") from None
    except OSError as error:
        raise Misuse(f"{path}: cannot be read ({error.strerror})") from None


def text_of(path: Path, content: bytes) -> str:
    """Its text; `Misuse` if it has none."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Misuse(f"{path}: is not UTF-8 text") from None


def backup_of(path: Path, installed: bytes, *, none: bool = False) -> Path:
    """Where stands what a file was before it became ``installed``; ``none``: that it was not."""
    return path.with_name(
        f"{path.name}.holdfast-{digest(installed)[:16]}.{'none' if none else 'bak'}"
    )


def replace(path: Path, before: bytes | None, after: bytes) -> Path | None:
    """Write a file whole, in place of what was looked at, and keep that beside it; what leads back
    from it now. `Conflict` if somebody changed it meanwhile."""
    # INVARIANT D101: the backup stands before the file changes, and the file is never half written
    path = path.resolve()
    mode = path.stat().st_mode & 0o777 if before is not None else 0o600
    path.parent.mkdir(parents=True, exist_ok=True)
    # INVARIANT D109: in whatever order it is installed, each state leads back to what stood there
    # before us: a state that comes again keeps what it led to, and no backup is written over
    states, _ = chain(path, before)
    made = aside = None
    old = _link(path, after)
    if after not in states and (old is None or chain(path, after)[0][1] != before):
        made = backup_of(path, after, none=before is None)
        aside = None if old is None else old.rename(_free(old))
        write(made, before or b"", mode)
    if before is not None and load(path) != before:
        if made is not None:
            made.unlink()
        if aside is not None and old is not None:
            aside.rename(old)
        raise Conflict(f"{path}: it was changed just now: say it again")
    write(path, after, mode)
    return _link(path, after)


def _free(old: Path) -> Path:
    """A name for a backup that another takes the place of."""
    stem, number = old.name.removesuffix(old.suffix), 1
    while (found := old.with_name(f"{stem}.{number}{old.suffix}")).exists():
        number += 1
    return found


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file atomically; `Misuse` says why it cannot be."""
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise Misuse(f"{path}: cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _link(path: Path, content: bytes) -> Path | None:
    """The backup of what a file was before we made it this."""
    both = (backup_of(path, content), backup_of(path, content, none=True))
    return next((one for one in both if one.exists()), None)


def chain(path: Path, content: bytes | None) -> tuple[list[bytes | None], list[Path]]:
    """What a file with this content was before, back to what we did not write (None: it was not
    there), and the backups that say so."""
    path, states, used = path.resolve(), [content], list[Path]()
    while content is not None:
        backup = _link(path, content)
        if backup is None or backup in used:
            break
        used.append(backup)
        content = None if backup.suffix == ".none" else load(backup)
        states.append(content)
    return states, used


def leading(path: Path, used: list[Path]) -> list[Path]:
    """Every backup that leads to where these do: of no use once the file is that again."""
    into = set(used)
    return [
        one for one in backups(path)
        if one in into or (one.suffix == ".bak" and into & set(chain(path, load(one))[1]))
    ]  # fmt: skip


def backups(path: Path) -> list[Path]:
    """Every backup of ours beside a file."""
    path = path.resolve()
    return sorted(path.parent.glob(f"{_plain(path.name)}.holdfast-" + "[0-9a-f]" * 16 + ".*"))


def _plain(name: str) -> str:
    return "".join(f"[{char}]" if char in "[]*?" else char for char in name)


def difference(path: Path, before: str, after: str, documents: list[Any]) -> str:
    """A patch from one text to the other. INVARIANT D102: what may be secret in it is not shown:
    values of variables and headers, and of a server's words and address (`shown`)."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), str(path), n=1
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    secret = {value: "…" for one in documents for value in _values(one) if value}
    words = dict(pair for one in documents for pair in _words(one))
    hidden = words | secret
    for value in sorted(hidden, key=len, reverse=True):
        for written in (json.dumps(value), json.dumps(value, ensure_ascii=False), f"'{value}'"):
            for one in (written, written.replace("/", "\\/")):
                text = text.replace(one, f'"{hidden[value]}"')
    return masked(text)


def _words(found: Any) -> Iterator[tuple[str, str]]:
    """Words and addresses of servers that are not shown as they are, and how they are."""
    parts: list[Any] = list(found.values()) if isinstance(found, dict) else []
    for name, value in found.items() if isinstance(found, dict) else ():
        if name in _WORDS:
            words = value if isinstance(value, list) else [value]
            said = [one if isinstance(one, str) else "" for one in words]
            yield from ((one, as_) for one, as_ in zip(said, shown(said), strict=True)
                        if one and one != as_)  # fmt: skip
    for value in found if isinstance(found, list) else parts:
        yield from _words(value)


def _values(found: Any, inside: bool = False) -> Iterator[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            yield from _values(value, inside or name in _SECRET)
    elif isinstance(found, list):
        for value in found:
            yield from _values(value, inside)
    elif inside and isinstance(found, str):
        yield found
