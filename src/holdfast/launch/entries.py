"""MCP servers in the files of clients: found, and led through a door of ours.

Each client has a form of its own; all are tables of entries by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from holdfast.engine.described import journal_name
from holdfast.launch import jsonc
from holdfast.launch.places import LED
from holdfast.proxy.config import server_of
from holdfast.proxy.upstream import Server
from holdfast.values.errors import Misuse

Offer = Callable[[str, Server], tuple[list[str], dict[str, str]] | None]
"""Given a server's name and what it is: the command to say instead, and its environment; None
leaves the entry out."""


class Rewritten:
    """A file with its servers led elsewhere. ``before``: its bytes, ``content``: what stands there
    instead; ``names``: the servers; ``troubles``: what was left out, and why; ``unread``: the file
    could not be read, and an empty one stands there."""

    def __init__(self, path: str, before: bytes) -> None:
        self.path = path
        self.before = before
        self.content = before
        self.names: list[str] = []
        self.troubles: list[str] = []
        self.unread = False
        self._known: dict[str, tuple[Any, Any]] = {}
        self._dropped: dict[str, Any] = {}

    def lead(
        self, offer: Offer, env: Mapping[str, str], *, same_as: Mapping[str, str] | None = None
    ) -> bool:
        """Lead every server through ``offer``; whether anything differs. ``env``: what entries may
        name variables of; ``same_as``: a directory that stands for another (in files that know
        directories)."""
        document = _read(self.path, self.before)
        if document is None:
            # D82: a client may still read what we cannot
            self.troubles.append(f"{self.path}: cannot be read: an empty one stands in its place")
            self.unread, self.content = True, b"" if self.path.endswith(".toml") else b"{}\n"
            return True
        for table in _tables(self.path, document):
            for name in list(table):
                self._lead(table, name, offer, env)
        projects = document.get("projects")
        for new, old in (same_as or {}).items():
            if isinstance(projects, dict) and old in projects:
                projects[new] = projects[old]
        if self.names or self._dropped:
            self.content = _written(self.path, document)
        return self.content != self.before

    def _lead(self, table: Any, name: str, offer: Offer, env: Mapping[str, str]) -> None:
        entry = table[name]
        if not isinstance(entry, dict) or entry.get("disabled") is True:
            return
        if entry.get("enabled") is False:
            return
        plain = json.loads(json.dumps(entry))
        try:
            place = f"{self.path}: {name}"
            found = offer(name, server_of(place, journal_name(name), _usual(plain), env))
        except Misuse as error:
            # INVARIANT D82: a server that cannot be led through the door is left out, and said so
            self.troubles.append(str(error))
            found = None
        if found is None:
            del table[name]
            self._dropped[name] = plain
            return
        made = _entry(self.path, plain, *found)
        table[name] = made
        self.names.append(name)
        self._known[name] = (made, plain)

    def back(self, content: bytes) -> bytes:
        """What the command left of ``content``, with the servers as they were: byte for byte the
        file as it was, if it was not changed or could not be read; else with its comments."""
        if content == self.content or self.unread:
            return self.before
        document = _read(self.path, content)
        if document is None:
            return content
        if self._dropped and next(_tables(self.path, document), None) is None:
            document[LED[self.path].servers] = {}  # what it was never shown it cannot take away
        for table in _tables(self.path, document):
            for name in list(table):
                made, plain = self._known.get(name, (None, None))
                if made is not None and json.dumps(table[name]) == json.dumps(made):
                    table[name] = plain
            for name, plain in self._dropped.items():
                table.setdefault(name, plain)
        if self.path.endswith(".toml"):
            return _written(self.path, document)
        # what the command was shown is plain: every reader finds the same servers there
        try:
            return jsonc.saying(self.before.decode() or "{}", document).encode()
        except (Misuse, UnicodeError):
            return _written(self.path, document)


def names_in(path: str, content: bytes) -> list[str]:
    """The servers that a file names; none if it cannot be read."""
    document = _read(path, content)
    return [] if document is None else [name for one in _tables(path, document) for name in one]


def _read(path: str, content: bytes) -> Any:
    try:
        text = content.decode("utf-8-sig")
        if path.endswith(".toml"):
            return tomlkit.parse(text)
        found = jsonc.read(text).value if text.strip() else {}
    except (ValueError, TOMLKitError, Misuse, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _written(path: str, document: Any) -> bytes:
    if path.endswith(".toml"):
        return tomlkit.dumps(document).encode()
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _tables(path: str, document: Any) -> Iterator[Any]:
    """The tables of servers in a file."""
    key = LED[path].servers
    named = path == ".claude.json"
    projects = document.get("projects") if named else None
    for place in (document, *(projects.values() if isinstance(projects, dict) else ())):
        table = place.get(key) if isinstance(place, dict) else None
        if isinstance(table, dict):
            yield table


def _usual(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry in the words that most clients use."""
    found = dict(entry)
    command = entry.get("command")
    if isinstance(command, list) and command:
        found["command"], found["args"] = command[0], command[1:]
    for theirs, ours in (("environment", "env"), ("httpUrl", "url"), ("http_headers", "headers")):
        if theirs in found:
            found[ours] = found.pop(theirs)
    return found


def _entry(path: str, before: dict[str, Any], words: list[str], env: dict[str, str]) -> Any:
    """An entry of the form of its file, which keeps what it says besides."""
    ours = ("command", "args", "env", "environment", "url", "serverUrl", "httpUrl", "headers",
            "http_headers", "bearer_token_env_var", "env_http_headers", "oauth", "type", "cwd",
            "envFile")  # fmt: skip
    kept = {name: value for name, value in before.items() if name not in ours}
    if LED[path].form == "list":
        return {**LED[path].extra, "command": words, "environment": env, **kept}
    kind = {} if path.endswith(".toml") else {"type": "stdio"}
    return {**kind, "command": words[0], "args": words[1:], "env": env, **kept}
