"""The environment of a launched command: base URLs that lead here, and tokens instead of keys."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.models.known import PROVIDERS
from holdfast.proxy.providers import Provider
from holdfast.proxy.wiring import BASES, KNOWN, Entry, Wiring, providers_of

ALSO: Mapping[str, tuple[str, ...]] = {name: one.bases[1:] for name, one in PROVIDERS.items()}
"""Other variables that take the same base URL."""
KEYS: Mapping[str, tuple[tuple[str, str], ...]] = {
    name: one.keys for name, one in PROVIDERS.items()
}
"""Variables that hold a provider's key, and the style in which it is said if not the usual one."""

DOOR, TOKEN, RUN = "HOLDFAST_DOOR", "HOLDFAST_TOKEN", "HOLDFAST_RUN"
_OURS = ("HOLDFAST_KEY", "HOLDFAST_STORE", "HOLDFAST_POLICY")


class Upstreams(msgspec.Struct, frozen=True):
    """Where models are. ``below``: what follows the base URL of each by name; ``secret``: variables
    that hold keys, which the command does not get."""

    providers: list[Provider]
    below: dict[str, str]
    secret: frozenset[str]


def upstreams(env: Mapping[str, str], wiring: Wiring) -> Upstreams:
    """The providers that a command may come to: those of the settings, and those that are known by
    name, as the environment would have led it to them. One without a key here is sent whatever key
    the command has."""
    entries: dict[str, Entry] = {}
    below: dict[str, str] = {}
    for name, (variable, end, _) in BASES.items():
        given = env.get(variable, "").rstrip("/")
        below[name] = end
        if given and end and not given.endswith(end):
            below[name] = ""
        url = given.removesuffix(below[name]) if given else ""
        key, style = next(
            ((one, how) for one, how in KEYS[name] if env.get(one, "").strip()), ("", "")
        )
        entries[name] = Entry(url=url, key_env=key, key_style=style, pass_keys=not key)
    entries |= wiring.upstreams
    secret = {one for keys in KEYS.values() for one, _ in keys}
    secret |= {one.key_env for one in entries.values() if one.key_env}
    secret |= {KNOWN[name][1] for name in entries if name in KNOWN}
    return Upstreams(providers_of(entries, env), below, frozenset(secret))


def without(env: Mapping[str, str], found: Upstreams) -> dict[str, str]:
    """``env`` but for what holds keys that the launcher knows."""
    keys = {one.key for one in found.providers if one.key}
    return {
        name: value
        for name, value in env.items()
        if name not in found.secret and name not in _OURS and value.strip() not in keys
    }


def environment(
    env: Mapping[str, str], found: Upstreams, *, url: str, token: str
) -> dict[str, str]:
    """``env`` as the command gets it.

    INVARIANT D81: no key that the launcher knows is in it: where the command would look for one
    stands a token that is worth something at our door only, and only while the command runs.
    """
    made = without(env, found)
    for one in found.providers:
        through = url if one.key else f"{url}/~{token}"
        if one.name in BASES:
            base = f"{through}/{one.name}{found.below[one.name]}"
            for name in (BASES[one.name][0], *ALSO[one.name]):
                made[name] = base
            if one.key:
                given = [name for name, _ in KEYS[one.name] if env.get(name, "").strip()]
                made |= dict.fromkeys(given or [BASES[one.name][2]], token)
            else:  # its own: a person's log-in, which the wire passes on
                made |= {name: env[name] for name, _ in KEYS[one.name] if env.get(name)}
    made |= {name: _with_loopback(made.get(name, "")) for name in ("NO_PROXY", "no_proxy")}
    return made


def _with_loopback(text: str) -> str:
    hosts = [one for one in text.split(",") if one]
    return ",".join([*hosts, *(one for one in ("127.0.0.1", "localhost") if one not in hosts)])


def traceparent(given: str, trace: bytes) -> str:
    """The W3C trace context of the command: the one that was given, or a new one."""
    parts = given.split("-")
    if len(parts) >= 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
        return given
    return f"00-{trace[:16].hex()}-{trace[16:24].hex()}-01"
