"""The clients that are known: where their files are, and how an entry stands in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from holdfast.values.errors import Misuse


class Client(msgspec.Struct, frozen=True):
    """One client. ``user``, ``project``: its files, of which the first that exists counts (none:
    it has no such); ``servers``: the member that names the servers; ``form``: ``words`` (command
    and args), ``list`` (command is a list), ``nested`` (words, or an object of path and args);
    ``extra``: what a new entry holds besides."""

    name: str
    servers: str
    user: Callable[[], tuple[Path, ...]]
    project: tuple[str, ...] = ()
    form: str = "words"
    extra: dict[str, str] = {}


def _home(*parts: str) -> Path:
    return Path.home().joinpath(*parts)


def _config(*parts: str) -> Path:
    """A file among the configurations of this user's programs, as this system has them."""
    if sys.platform == "darwin":
        return _home("Library", "Application Support", *parts)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or _home("AppData", "Roaming")).joinpath(*parts)
    return Path(os.environ.get("XDG_CONFIG_HOME") or _home(".config")).joinpath(*parts)


def _dotted(*parts: str) -> Path:
    """As `_config`, for programs that use the same place on every system but Windows."""
    if sys.platform == "win32":
        return _config(*parts)
    return Path(os.environ.get("XDG_CONFIG_HOME") or _home(".config")).joinpath(*parts)


def _named(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or _home(default))


CLIENTS: dict[str, Client] = {
    one.name: one
    for one in (
        Client(
            "claude-code", "mcpServers",
            lambda: (
                _named("CLAUDE_CONFIG_DIR", "") / ".claude.json",
            ),
            (".mcp.json",), extra={"type": "stdio"},
        ),
        Client(
            "claude-desktop", "mcpServers",
            lambda: (_config("Claude", "claude_desktop_config.json"),),
        ),
        Client("cursor", "mcpServers", lambda: (_home(".cursor", "mcp.json"),),
               (".cursor/mcp.json",)),
        Client("vscode", "servers", lambda: (_config("Code", "User", "mcp.json"),),
               (".vscode/mcp.json",), extra={"type": "stdio"}),
        Client("codex", "mcp_servers", lambda: (_named("CODEX_HOME", ".codex") / "config.toml",),
               (".codex/config.toml",)),
        Client(
            "opencode", "mcp",
            lambda: (
                _dotted("opencode", "opencode.json"),
                _dotted("opencode", "opencode.jsonc"),
            ),
            ("opencode.json", "opencode.jsonc"), form="list", extra={"type": "local"},
        ),
        Client("gemini", "mcpServers", lambda: (_home(".gemini", "settings.json"),),
               (".gemini/settings.json",)),
        Client("windsurf", "mcpServers",
               lambda: (_home(".codeium", "windsurf", "mcp_config.json"),)),
        Client("zed", "context_servers", lambda: (_dotted("zed", "settings.json"),),
               (".zed/settings.json",), form="nested"),
    )
}  # fmt: skip
"""By name."""


def client(name: str) -> Client:
    """The client of that name; `Misuse` lists those that are known."""
    if name not in CLIENTS:
        raise Misuse(f"--client {name!r}: say one of {', '.join(CLIENTS)}")
    return CLIENTS[name]


def place(one: Client, project: str) -> Path:
    """The file of a client: this user's or, with ``project``, that directory's. The first if none
    exists."""
    if project:
        if not one.project:
            raise Misuse(f"--project: {one.name} has no configuration of a project's own")
        base = Path(project)
        if not base.is_dir():
            raise Misuse(f"--project: there is no directory {project}")
        places = tuple(base.resolve() / path for path in one.project)
    else:
        places = one.user()
    return next((path for path in places if path.exists()), places[0])
