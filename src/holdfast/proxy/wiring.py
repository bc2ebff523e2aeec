"""The settings of a wire: providers, rules and prices, from a file or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from holdfast.models.known import PROVIDERS
from holdfast.proxy.providers import Provider, check
from holdfast.proxy.wire import Fallback, Rules
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound

KNOWN: Mapping[str, tuple[str, str]] = {
    name: (one.host, one.keys[0][0]) for name, one in PROVIDERS.items()
}
"""Providers that need no address: it, and the variable that holds the key."""

BASES: Mapping[str, tuple[str, str, str]] = {
    name: (one.bases[0], one.below, one.keys[0][0]) for name, one in PROVIDERS.items()
}
"""Variables by which clients take a base URL (with what follows it) and a key."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider in the settings. ``key_env``: the variable that holds its key; keys themselves
    stand in no settings."""

    url: str = ""
    key_env: str = ""
    key_style: str = ""
    pass_keys: bool = False
    other: bool = False
    retries: int = 0


class Wiring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file: JSON with these members (docs/models.md)."""

    upstreams: dict[str, Entry] = {}
    fallback: tuple[Fallback, ...] = ()
    prices: dict[str, dict[str, float]] = {}
    patience: float = limits.WIRE_PATIENCE_SECONDS
    drain: bool = False


def read_wiring(path: str) -> Wiring:
    """The settings of a file; `NotFound`, `Misuse` name the place."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Wiring)
    except FileNotFoundError:
        raise NotFound(f"--config: there is no file {path}") from None
    except OSError as error:
        raise Misuse(f"--config: {path} cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise Misuse(f"--config: {path}: {error}") from None


def rules_of(wiring: Wiring, *, record: bool = False) -> Rules:
    """The rules among the settings."""
    if not 0 <= wiring.patience < 86_400:
        raise Misuse("patience: say seconds, from 0 to a day")
    return Rules(
        fallback=wiring.fallback, patience=wiring.patience, drain=wiring.drain, record=record
    )


def providers_of(entries: Mapping[str, Entry], env: Mapping[str, str]) -> list[Provider]:
    """Providers with their keys, which stand in the environment. `Misuse` for a variable that is
    named and not set, or if there are no providers."""
    if not entries:
        raise Misuse("no upstream: say --upstream openai, or --upstream NAME=https://...")
    return [_provider(name, one, env) for name, one in entries.items()]


def _provider(name: str, entry: Entry, env: Mapping[str, str]) -> Provider:
    url, variable = KNOWN.get(name, ("", ""))
    if not (entry.url or url):
        raise Misuse(f"upstream {name!r} needs an address: --upstream {name}=https://...")
    key = env.get(entry.key_env or variable, "").strip() if not entry.pass_keys else ""
    if entry.key_env and not key and not entry.pass_keys:
        raise Misuse(f"upstream {name!r}: the variable {entry.key_env} is not set")
    if entry.url and not entry.key_env and name in KNOWN and entry.url.rstrip("/") != url:
        # INVARIANT D44: a known provider's key goes to another address only if that is said
        key = ""
    return check(
        Provider(
            name=name, url=entry.url or url, key=key, key_style=entry.key_style,
            pass_keys=entry.pass_keys, other=entry.other, retries=entry.retries,
        )
    )  # fmt: skip


def environment(url: str, token: str, providers: list[Provider]) -> dict[str, str]:
    """What a client's environment needs to come to a wire at ``url``. A client whose own key is
    passed on has the token in its base URL."""
    found: dict[str, str] = {}
    for one in providers:
        if one.name not in BASES:
            continue
        base, below, key = BASES[one.name]
        through = f"{url}/~{token}" if one.pass_keys and not one.key else url
        found[base] = f"{through}/{one.name}{below}"
        if through == url:
            found[key] = token
    return found


def addresses(url: str, providers: list[Provider]) -> dict[str, str]:
    """Where each provider is reached."""
    return {one.name: f"{url}/{one.name}" for one in providers}


def entry_of(text: str) -> tuple[str, Entry]:
    """One ``--upstream NAME`` or ``NAME=URL``."""
    name, _, url = text.partition("=")
    return name, Entry(url=url)


def with_keys(entries: dict[str, Entry], chosen: tuple[str, ...]) -> dict[str, Entry]:
    """``entries`` with each ``--key-env NAME=VARIABLE``."""
    found = dict(entries)
    for text in chosen:
        name, _, variable = text.partition("=")
        if name not in found or not variable:
            raise Misuse(f"--key-env {text!r}: say NAME=VARIABLE of an upstream")
        found[name] = msgspec.structs.replace(found[name], key_env=variable)
    return found


def keyless(providers: list[Provider], env: Mapping[str, str]) -> list[str]:
    """What people should be told of each provider without any key."""
    found: list[str] = []
    for one in providers:
        if one.key or one.pass_keys:
            continue
        text = f"upstream {one.name} has no key: requests go to it without one"
        _, variable = KNOWN.get(one.name, ("", ""))
        if env.get(variable, "").strip():  # D44 withheld it
            text += f" ({variable} goes elsewhere only with --key-env {one.name}={variable})"
        found.append(text)
    return found


Told = dict[str, Any]
"""What is said of a wire that serves."""


def told(run: str, url: str, token: str, providers: list[Provider]) -> Told:
    """What somebody needs who starts clients."""
    return {
        "run": run,
        "url": url,
        "token": token,
        "upstreams": addresses(url, providers),
        "environment": environment(url, token, providers),
    }
