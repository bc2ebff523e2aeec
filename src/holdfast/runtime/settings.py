"""Settings, from the environment or from code. Each is documented in docs/settings.md."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from holdfast.values import limits
from holdfast.values.errors import Misuse


class Settings(msgspec.Struct, frozen=True):
    """How a runtime is set up.

    ``store``: directory of the journal (``HOLDFAST_STORE``). ``policy``: its file or folder,
    "" for the default one (``HOLDFAST_POLICY``). ``synchronous``: FULL or NORMAL
    (``HOLDFAST_SYNCHRONOUS``). ``linger``: seconds that a waiting run stays in memory
    (``HOLDFAST_LINGER``). ``user``: who answers, in the journal (``HOLDFAST_USER``). ``sandbox``:
    the walls of commands, namespaces, landlock or none; "" for namespaces
    (``HOLDFAST_SANDBOX``). ``key``: file of the private key that signs roots, "" for none
    (``HOLDFAST_KEY``). ``witness``: second places that keep them, in the environment with ";"
    between (``HOLDFAST_WITNESS``). ``joules``: energy for a token, by name or glob of
    ``PROVIDER.MODEL``, for models whose energy you know (``HOLDFAST_JOULES``, with ";" between).
    """

    store: str = ".holdfast"
    policy: str = ""
    synchronous: str = "FULL"
    linger: float = limits.LINGER_SECONDS
    user: str = ""
    sandbox: str = ""
    key: str = ""
    witness: tuple[str, ...] = ()
    joules: dict[str, float] = {}

    @property
    def directory(self) -> Path:
        """The store's directory."""
        return Path(self.store)


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings as the environment says; `Misuse` names a variable that cannot be understood."""
    env = os.environ if environment is None else environment
    linger = env.get("HOLDFAST_LINGER", "")
    try:
        seconds = float(linger) if linger else limits.LINGER_SECONDS
    except ValueError:
        raise Misuse(f"HOLDFAST_LINGER={linger!r}: say a number of seconds") from None
    return Settings(
        store=env.get("HOLDFAST_STORE") or ".holdfast",
        policy=env.get("HOLDFAST_POLICY", ""),
        synchronous=(env.get("HOLDFAST_SYNCHRONOUS") or "FULL").upper(),
        linger=seconds,
        sandbox=env.get("HOLDFAST_SANDBOX", "").lower(),
        key=env.get("HOLDFAST_KEY", ""),
        witness=tuple(
            place.strip() for place in env.get("HOLDFAST_WITNESS", "").split(";") if place.strip()
        ),
        joules=_joules(env.get("HOLDFAST_JOULES", "")),
        user=env.get("HOLDFAST_USER") or env.get("USER") or env.get("LOGNAME") or "somebody",
    )


def _joules(text: str) -> dict[str, float]:
    """Joules for a token by model, from ``MODEL=JOULES;MODEL=JOULES``."""
    found: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, _, amount = part.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            found[name.strip()] = -1.0
        if not (name.strip() and 0 <= found[name.strip()] < float("inf")):
            raise Misuse(f"HOLDFAST_JOULES: {part!r}: say PROVIDER.MODEL=JOULES for a token")
    return found
