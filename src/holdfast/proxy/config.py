"""Servers as people write them down: a command, an address, or the ``mcpServers`` of a client."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from holdfast.proxy.upstream import Server
from holdfast.values.errors import Misuse, NotFound
from holdfast.values.ids import check_name

_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_AFFIXES = re.compile(r"\A(?:mcp[-_]server[-_]|server[-_]|mcp[-_])|(?:[-_]mcp|[-_]server)\Z")
_RUNNERS = (
    "npx", "uvx", "node", "python", "bunx", "deno", "uv", "run", "docker", "exec", "tool", "java",
)  # fmt: skip
_GENERIC = ("index", "main", "__main__", "dist", "build", "src", "bin", "cli", "/")


def from_command(
    command: tuple[str, ...], name: str = "", env: dict[str, str] | None = None
) -> Server:
    """A server that is a command."""
    if not command:
        raise Misuse("mcp: say the server's command after --")
    return Server(_name(name or named_after(command)), command=command, env=env or {})


def from_url(url: str, name: str = "", headers: dict[str, str] | None = None) -> Server:
    """A server at an address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise Misuse(f"mcp: {url!r} is no http or https address")
    if (parts.username or parts.password) and "authorization" in map(str.lower, headers or ()):
        raise Misuse("mcp: the address has a user or password, and there is a header "
                     "Authorization: say one of them")  # fmt: skip
    return Server(_name(name or parts.hostname), url=url, headers=headers or {})


def named_after(command: tuple[str, ...]) -> str:
    """What a server is called if nobody says: by its package or program, never by itself."""
    for word in command:
        if word.startswith("-"):
            continue
        path = PurePath(re.sub(r"(?<=.)@[^@/]*\Z", "", word))  # without a version
        for part in reversed(path.parts):
            plain = re.sub(r"\.(?:py|js|mjs|cjs|ts|jar)\Z", "", part)
            if plain not in _GENERIC and re.sub(r"[0-9.]+\Z", "", plain) not in _RUNNERS:
                return _AFFIXES.sub("", plain) or plain
            if plain not in _GENERIC:
                break
    return "server"


def _name(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_\-]", "_", text).strip("_-")[:40] or "server"
    return check_name(plain, "server")


def read_config(path: str) -> list[Server]:
    """The servers of a file in the form that clients use: ``{"mcpServers": {NAME: {...}}}``.

    ``${NAME}`` and ``${NAME:-default}`` are taken from the environment. `NotFound`, `Misuse` name
    the place.
    """
    try:
        found: Any = msgspec.json.decode(Path(path).read_bytes())
    except FileNotFoundError:
        raise NotFound(f"--config: there is no file {path}") from None
    except OSError as error:
        raise Misuse(f"--config: {path} cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise Misuse(f"--config: {path} is not JSON: {error}") from None
    many = found.get("mcpServers", found.get("servers")) if isinstance(found, dict) else None
    if not isinstance(many, dict) or not many:
        raise Misuse(f'--config: {path} names no servers: {{"mcpServers": {{NAME: ...}}}}')
    return [
        server_of(f"--config: {path}: {name}", name, entry, os.environ)
        for name, entry in many.items()
        if not (isinstance(entry, dict) and entry.get("disabled") is True)
    ]


def server_of(place: str, name: str, entry: Any, env: Mapping[str, str]) -> Server:
    """The server that one entry of such a file names, with variables of ``env`` filled in; `Misuse`
    names the ``place``."""
    if not isinstance(entry, dict):
        raise Misuse(f"{place}: say command or url")
    check_name(name, "server")
    if "url" in entry or "serverUrl" in entry:
        headers = _texts(place, "headers", entry.get("headers", {}), env)
        url = _filled(place, str(entry.get("url") or entry.get("serverUrl")), env)
        return from_url(url, name, headers)
    command, args = entry.get("command"), entry.get("args", [])
    if not isinstance(command, str) or not isinstance(args, list):
        raise Misuse(f"{place}: say command (a text) and args (a list), or url")
    words = tuple(_filled(place, str(word), env) for word in (command, *args))
    cwd = entry.get("cwd", "")
    return Server(
        name, command=words, env=_texts(place, "env", entry.get("env", {}), env),
        cwd=_filled(place, str(cwd), env) if cwd else "",
    )  # fmt: skip


def _texts(place: str, field: str, found: Any, env: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(found, dict):
        raise Misuse(f"{place}: {field} must map names to texts")
    return {str(name): _filled(place, str(value), env) for name, value in found.items()}


def _filled(place: str, text: str, env: Mapping[str, str]) -> str:
    """``text`` with variables of an environment filled in."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in env and match.lastindex == 1:
            raise Misuse(f"{place}: the environment has no {name}")
        return env.get(name, match[2])

    return _VARIABLE.sub(value, text)
