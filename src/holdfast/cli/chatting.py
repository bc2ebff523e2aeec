"""What `inbox serve` reads before it begins: address, secret and people, none of them shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdfast.cli.desk import Desk
from holdfast.cli.sowing import sower
from holdfast.cli.stopping import stoppable
from holdfast.values.errors import Misuse, NotFound


async def serve_chat(desk: Desk, chat: str, secret: str, people: str, listen: str) -> int:
    """Serve a chat until this process is asked to stop."""
    try:
        from holdfast.api.chat import Chat, serve
        from holdfast.api.chat import Desk as Door
    except ModuleNotFoundError as error:
        raise Misuse(f"inbox serve needs {error.name}: pip install 'holdfast[api]'") from None

    from holdfast.values.ports import SystemClock

    host, port = listen_at(listen)
    url = private(chat[1:], "--chat") if chat.startswith("@") else chat
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise Misuse("--chat: say an http or https address, or @FILE that holds one")
    known = Chat(url, private(secret, "--secret-file").encode(), _people(people))
    async with desk.store() as store:
        door = Door(store, known, SystemClock(), lambda text: _say(desk, text), sower(desk, store))
        with stoppable(desk.screen) as stop:
            await serve(door, host, port, stop.asked)
    return 0


def _say(desk: Desk, text: str) -> None:
    from holdfast.explain.text import one_line

    if desk.screen.json:
        desk.screen.document({"said": text})
    else:
        desk.screen.note(one_line(text))


def listen_at(text: str) -> tuple[str, int]:
    """Host and port of ``--listen``; `Misuse` for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise Misuse(f"--listen {text!r}: say HOST:PORT")
    return host.strip("[]"), int(port)


def read_text(path: str, option: str) -> str:
    """A file's text; `NotFound` or `Misuse` names the option."""
    try:
        return Path(path).read_text("utf-8")
    except FileNotFoundError:
        raise NotFound(f"{option}: there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{option}: {path} cannot be read ({type(error).__name__})") from None


def private(path: str, option: str, *, lines: bool = False) -> str:
    """The one line of a file that nobody else may read; with ``lines``, all of them."""
    text = read_text(path, option).strip()
    if not text or ("\n" in text and not lines):
        raise Misuse(f"{option}: {path} must hold one line")
    if Path(path).stat().st_mode & 0o077:
        raise Misuse(f"{option}: others may read {path}: chmod 600 {path}")
    return text


def _people(path: str) -> dict[str, str]:
    """Who approves, by the chat's id of them."""
    import yaml

    try:
        found: Any = yaml.safe_load(read_text(path, "--people"))
    except yaml.YAMLError:
        raise Misuse(f"--people: {path} is not YAML") from None
    if not isinstance(found, dict) or not found:
        raise Misuse(f"--people: {path} must map ids of the chat to names: U012ABC: ann")
    for who, name in found.items():
        if not isinstance(who, str) or not isinstance(name, str) or not who or not name:
            raise Misuse(f"--people: {path}: {who!r}: {name!r} must both be text")
    return found
