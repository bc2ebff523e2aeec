"""Who comes in, and what they may do: tokens, signed-in browsers, roles.

Secrets are kept as hashes only. A role includes those below it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from holdfast.values import limits
from holdfast.values.ids import new_id
from holdfast.values.ports import Clock, Dice

Role = Literal["viewer", "approver", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "approver", "admin")
"""From the least to the most."""
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine for itself."""


class Person(msgspec.Struct, frozen=True):
    """Whoever asks: the ``name`` by which the journal knows them, and their role."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether their role includes ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Visit(msgspec.Struct, frozen=True):
    """A browser that signed in. ``csrf``: what its forms carry; ``until``: ms."""

    person: Person
    csrf: str
    until: int


class Provider(Protocol):
    """Who vouches for persons elsewhere (`holdfast.api.oidc`). ``label``: what it is called."""

    label: str

    async def begin(self, target: str) -> tuple[str, str]:
        """Where to send a browser that wants to ``target``, and what its cookie keeps."""
        ...

    async def finish(self, cookie: str, query: Mapping[str, str]) -> tuple[Person, str]:
        """Who came back, and where they wanted to; `Turned`."""
        ...


class Turned(HTTPException):
    """A request that is turned away. ``code``: for programs; ``way``: what to do about it."""

    def __init__(
        self, status: int, code: str, text: str, way: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(status, text, headers)
        self.code = code
        self.text = text
        self.way = way


def digest(secret: str) -> str:
    """What is kept of a secret: its SHA-256. Enough, for secrets here are random."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Access:
    """Who may come in. ``tokens``: persons by the digest of their token; ``url``: the address at
    which browsers reach it, "" for that of this machine; ``cookie``: name of its cookie;
    ``metrics``: digest of a token that reads metrics only, "" for none; ``provider``: where persons
    sign in, if not here."""

    def __init__(
        self,
        tokens: Mapping[str, Person],
        *,
        clock: Clock,
        dice: Dice,
        url: str = "",
        cookie: str = "holdfast",
        metrics: str = "",
        provider: Provider | None = None,
    ) -> None:
        self.provider = provider
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self.https = parts.scheme == "https"
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.hosts = LOCAL | {parts.hostname or "localhost"}
        self.cookie = f"__Host-{cookie}" if self.https else cookie
        self.metrics = metrics
        self._tokens = dict(tokens)
        self._links: dict[str, Person] = {}
        self._visits: dict[str, Visit] = {}
        self._failures: dict[str, list[int]] = {}
        self._clock = clock
        self._dice = dice

    @property
    def takes_tokens(self) -> bool:
        """Whether anybody has a token."""
        return bool(self._tokens)

    # Tokens -------------------------------------------------------------------------------------

    def link(self, person: Person) -> str:
        """A token that signs in as ``person`` once, for a URL."""
        token = new_id(self._dice, chars=32)
        self._links[digest(token)] = person
        return token

    def by_token(self, token: str) -> Person | None:
        """Whose token this is. The time it takes tells nothing of other tokens."""
        wanted = digest(token)
        found: Person | None = None
        for known, person in self._tokens.items():
            if hmac.compare_digest(known, wanted):
                found = person
        return found

    def by_link(self, token: str) -> Person | None:
        """Whose link this is. INVARIANT X100: a link signs in once."""
        return self._links.pop(digest(token), None)

    def reads_metrics(self, token: str) -> bool:
        """Whether this is the token that reads metrics."""
        return bool(self.metrics) and hmac.compare_digest(self.metrics, digest(token))

    # Browsers -----------------------------------------------------------------------------------

    def open(self, person: Person) -> str:
        """Sign a browser in; what its cookie holds. INVARIANT X101: only a hash of it is kept."""
        now = self._clock.now_ms()
        self._visits = {key: one for key, one in self._visits.items() if one.until > now}
        if len(self._visits) >= limits.VISITS_ITEMS:
            del self._visits[min(self._visits, key=lambda key: self._visits[key].until)]
        secret, csrf = (new_id(self._dice, chars=32) for _ in range(2))
        until = now + int(limits.VISIT_SECONDS * 1000)
        self._visits[digest(secret)] = Visit(person, csrf, until)
        return secret

    def visit(self, secret: str) -> Visit | None:
        """The browser whose cookie holds ``secret``, if it is signed in still."""
        found = self._visits.get(digest(secret))
        return found if found is not None and found.until > self._clock.now_ms() else None

    def close(self, secret: str) -> None:
        """Sign a browser out."""
        self._visits.pop(digest(secret), None)

    # Failures -----------------------------------------------------------------------------------

    def check_tries(self, address: str) -> None:
        """429 if too many attempts to sign in from this address failed lately."""
        lately = self._lately(address)
        if len(lately) >= limits.SIGNIN_ATTEMPTS:
            wait = limits.SIGNIN_WAIT_SECONDS - (self._clock.now_ms() - lately[0]) / 1000
            raise Turned(
                429, "too_many_attempts", "too many attempts to sign in failed",
                "wait, then sign in with the right token",
                {"Retry-After": str(max(1, int(wait) + 1))},
            )  # fmt: skip

    def failed(self, address: str) -> None:
        """Note that an attempt failed."""
        self._failures[address] = [*self._lately(address), self._clock.now_ms()]
        if len(self._failures) > limits.SIGNIN_ADDRESSES_ENTRIES:
            del self._failures[min(self._failures, key=lambda one: self._failures[one][-1])]

    def _lately(self, address: str) -> list[int]:
        since = self._clock.now_ms() - int(limits.SIGNIN_WAIT_SECONDS * 1000)
        return [at for at in self._failures.get(address, ()) if at > since]


# What routes ask ----------------------------------------------------------------------------------


def person_of(request: HTTPConnection) -> Person | None:
    """Whoever asks; None if they did not sign in."""
    return getattr(request.state, "person", None)


def csrf_of(request: HTTPConnection) -> str:
    """What forms of this browser carry as field ``csrf``, and its scripts as header
    ``X-CSRF-Token``; "" if no browser signed in."""
    visit: Visit | None = getattr(request.state, "visit", None)
    return visit.csrf if visit is not None else ""


def need(request: HTTPConnection, role: Role) -> Person:
    """Whoever asks, if their role includes ``role``; else 401 or 403."""
    person = person_of(request)
    if person is None:
        raise Turned(
            401, "not_signed_in", "sign in first",
            "open /signin, or send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    if not person.may(role):
        raise Turned(
            403, "not_allowed", f"{person.name} is {person.role}; this takes {role}",
            f"ask somebody with role {role}",
        )  # fmt: skip
    return person
