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
    (``HOLDFAST_SANDBOX``).
    """

    store: str = ".holdfast"
    policy: str = ""
    synchronous: str = "FULL"
    linger: float = limits.LINGER_SECONDS
    user: str = ""
    sandbox: str = ""

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
        user=env.get("HOLDFAST_USER") or env.get("USER") or env.get("LOGNAME") or "somebody",
    )
