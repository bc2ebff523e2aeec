"""What `holdfast serve` does: decides who may come in, serves, and says where."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from typing import Any
from urllib.parse import urlsplit

import msgspec

from holdfast.cli.chatting import private, read_text
from holdfast.cli.desk import Desk
from holdfast.cli.running import runtime_of
from holdfast.cli.stopping import stoppable
from holdfast.runtime.maintenance import open_store
from holdfast.values.errors import Misuse
from holdfast.values.ids import check_name, new_id
from holdfast.values.ports import SystemClock, SystemDice


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command."""

    host: str
    port: int
    url: str
    tokens: str
    oidc: str
    metrics_token: str
    policy: str
    no_run: bool


async def serve_console(desk: Desk, chosen: Chosen) -> int:
    """Serve until this process is asked to stop."""
    try:
        from holdfast.api.app import create_app
        from holdfast.api.site import Site
        from holdfast.runtime.serving import served
        from holdfast.runtime.watching import Watching
    except ModuleNotFoundError as error:
        raise Misuse(f"serve needs {error.name}: pip install 'holdfast[api]'") from None
    if desk.named and not desk.settings.directory.is_dir():  # a slip of the pen makes no store
        await open_store(desk.settings).close()  # which says so
    access, person, token = _access(desk, chosen)
    runtime = runtime_of(desk, policy=chosen.policy, serve=not chosen.no_run)
    with stoppable(desk.screen) as stop:
        async with runtime, contextlib.AsyncExitStack() as also:
            watching = None
            if not chosen.no_run:
                watching = await also.enter_async_context(Watching(runtime.settings))
            site = Site(runtime, access, goes_on=not chosen.no_run, watching=watching)
            await site.tally.catch_up(runtime.store)
            async with served(create_app(site), chosen.host, chosen.port, leave=2.0) as url:
                _tell(desk, access.url or url, person and access.link(person), token)
                await stop.asked.wait()
                site.feed.close()
    return 0


def _tell(desk: Desk, url: str, link: str | None, token: str) -> None:
    once = f"{url}/signin?token={link}" if link else ""
    if desk.screen.json:
        desk.screen.document({"url": url, "signin": once, "token": token})
    else:
        desk.screen.say(once or url)
        if token:
            desk.screen.note(f"the address signs in once; programs send the token {token}")
    sys.stdout.flush()


def _access(desk: Desk, chosen: Chosen) -> tuple[Any, Any, str]:
    """Who may come in; whoever sits here and their token, if only they may.

    INVARIANT X120: what others on the network reach wants tokens that you gave out, or OpenID
    Connect, and TLS.
    """
    from holdfast.api.access import Access, Person, digest

    shared = bool(chosen.tokens or chosen.oidc)
    parts = urlsplit(chosen.url)
    if not _is_here(chosen.host):
        if not shared:
            raise Misuse(f"--host {chosen.host}: others reach that: say --tokens or --oidc too")
        if parts.scheme != "https":
            raise Misuse(
                f"--host {chosen.host}: say --url https://…, the address of the TLS proxy before"
                " it: tokens and cookies must not cross a network in the clear"
            )
    if chosen.url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise Misuse(f"--url {chosen.url!r}: say an address such as https://holdfast.example.org")
    dice, token, person = SystemDice(), "", None
    known = _tokens(chosen.tokens, Person) if chosen.tokens else {}
    if not shared:
        token, person = new_id(dice, chars=32), Person(desk.user, "admin")
        known[digest(token)] = person
    metrics = private(chosen.metrics_token, "--metrics-token") if chosen.metrics_token else ""
    access = Access(
        known, clock=SystemClock(), dice=dice, url=chosen.url,
        cookie=f"holdfast-{chosen.port or new_id(dice)}",
        metrics=digest(metrics) if metrics else "",
        provider=_provider(chosen) if chosen.oidc else None,
    )  # fmt: skip
    return access, person, token


def _provider(chosen: Chosen) -> Any:
    """The provider that the file of ``--oidc`` names."""
    try:
        from holdfast.api.oidc import Client, Oidc
    except ModuleNotFoundError as error:
        raise Misuse(f"--oidc needs {error.name}: pip install 'holdfast[oidc]'") from None
    if not chosen.url:
        raise Misuse("--oidc: say --url too: the provider sends browsers back there")
    try:
        client = msgspec.yaml.decode(read_text(chosen.oidc, "--oidc"), type=Client)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"--oidc: {chosen.oidc}: {error}") from None
    secret = private(client.secret_file, "--oidc secret_file") if client.secret_file else ""
    return Oidc(client, url=chosen.url, secret=secret, clock=SystemClock(), dice=SystemDice())


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tokens(path: str, person: Any) -> dict[str, Any]:
    """Persons by the digest of their token, from lines NAME ROLE SHA256."""
    from holdfast.api.access import ROLES

    found: dict[str, Any] = {}
    for number, line in enumerate(private(path, "--tokens", lines=True).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3 or words[1] not in ROLES or not _is_digest(words[2]):
            raise Misuse(
                f"--tokens: {path}:{number}: say NAME ROLE SHA256, with a role of"
                f" {', '.join(ROLES)}; `holdfast serve --new-token NAME:ROLE` makes one"
            )
        if words[2] in found:
            raise Misuse(f"--tokens: {path}:{number}: this token is of two persons")
        found[words[2]] = person(words[0], words[1])
    if not found:
        raise Misuse(f"--tokens: {path} names nobody")
    return found


def new_token(desk: Desk, wanted: str) -> int:
    """Make a token for NAME:ROLE; print it and the line that lets it in."""
    from holdfast.api.access import ROLES, digest

    name, _, role = wanted.rpartition(":")
    if role not in ROLES:
        raise Misuse(f"--new-token {wanted!r}: say NAME:ROLE, with a role of {', '.join(ROLES)}")
    token = new_id(SystemDice(), chars=32)
    line = f"{check_name(name, 'person')} {role} {digest(token)}"
    if desk.screen.json:
        desk.screen.document({"token": token, "line": line})
    else:
        desk.screen.say(token)
        desk.screen.note(f"its line for --tokens: {line}")
    return 0


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")
