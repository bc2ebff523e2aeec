"""The clients that are known: where their files are, and how an entry stands in them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from holdfast.values.errors import Misuse


class Client(msgspec.Struct, frozen=True):
    """One client. ``user``, ``project``: its files, of which the first that exists counts (none:
    it has no such); those of a user are below the home or, behind ``config:`` or ``dotted:``, a
    directory of configurations, or in the directory that the variable ``moved`` names; ``more``:
    further files of a project that it reads; ``servers``: the member that names the servers;
    ``form``: ``words`` (command and args), ``list`` (command is a list), ``nested`` (words, or an
    object of path and args); ``extra``: what a new entry holds besides; ``installs``: servers are
    put into its files; ``led``: a launched command that is this client is led through the doors."""

    name: str
    servers: str
    user: tuple[str, ...]
    project: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    moved: str = ""
    form: str = "words"
    extra: dict[str, str] = {}
    installs: bool = True
    led: bool = True


_TABLE = (
    Client("claude-code", "mcpServers", (".claude.json",), (".mcp.json",),
           moved="CLAUDE_CONFIG_DIR", extra={"type": "stdio"}),
    Client("claude-desktop", "mcpServers", ("config:Claude/claude_desktop_config.json",),
           led=False),
    Client("cursor", "mcpServers", (".cursor/mcp.json",), (".cursor/mcp.json",)),
    Client("vscode", "servers", ("config:Code/User/mcp.json",), (".vscode/mcp.json",),
           extra={"type": "stdio"}),
    Client("codex", "mcp_servers", (".codex/config.toml",), (".codex/config.toml",),
           moved="CODEX_HOME"),
    Client("opencode", "mcp", ("dotted:opencode/opencode.json", "dotted:opencode/opencode.jsonc"),
           ("opencode.json", "opencode.jsonc"), (".opencode/opencode.json",), form="list",
           extra={"type": "local"}),
    Client("gemini", "mcpServers", (".gemini/settings.json",), (".gemini/settings.json",)),
    Client("copilot", "mcpServers", (".copilot/mcp-config.json",), installs=False),
    Client("windsurf", "mcpServers", (".codeium/windsurf/mcp_config.json",), led=False),
    Client("zed", "context_servers", ("dotted:zed/settings.json",), (".zed/settings.json",),
           form="nested", led=False),
)  # fmt: skip

CLIENTS: dict[str, Client] = {one.name: one for one in _TABLE if one.installs}
"""Those that servers can be installed for, by name."""


def _below(path: str) -> Path:
    """A file of a user, below the home, as this system has it."""
    base, _, rest = path.rpartition(":")
    if base == "config" and sys.platform == "darwin":
        return Path("Library", "Application Support", rest)
    return Path(".config", rest) if base else Path(rest)


def files_of(one: Client) -> tuple[Path, ...]:
    """This user's files of a client."""
    moved = os.environ.get(one.moved, "") if one.moved else ""
    return tuple(Path(moved, Path(path).name) if moved else _at(path) for path in one.user)


def _at(path: str) -> Path:
    base, _, rest = path.rpartition(":")
    if base and sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming", rest)
    elsewhere = os.environ.get("XDG_CONFIG_HOME", "")
    if elsewhere and (base == "dotted" or (base == "config" and sys.platform != "darwin")):
        return Path(elsewhere, rest)
    return Path.home() / _below(path)


LED: dict[str, Client] = {
    path: one for one in _TABLE if one.led for path in (*one.project, *one.more)
} | {_below(path).as_posix(): one for one in _TABLE if one.led for path in one.user}
"""Files that lead a launched command's servers, below a project or a home, and whose they are."""
PROJECT = tuple(path for one in _TABLE if one.led for path in (*one.project, *one.more))
"""Those of a project."""
PERSONAL = tuple(_below(path).as_posix() for one in _TABLE if one.led for path in one.user)
"""Those of a person's home."""


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
        places = files_of(one)
    return next((path for path in places if path.exists()), places[0])
