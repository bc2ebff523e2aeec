"""Signing in with OpenID Connect: authorization code with PKCE, state and nonce.

What the provider says is believed as far as its signature, its audience and its clock go; a role
comes from the groups that it names, and from nothing that a browser sends.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from holdfast.api.access import LOCAL, ROLES, Person, Role, Turned, digest
from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside
from holdfast.values.ids import new_id
from holdfast.values.ports import Clock, Dice

CALLBACK = "/signin/oidc/callback"
"""Where providers send browsers back to."""
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
"""Signatures that a provider may use: all of them take a private key that only it has."""


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How we are known to a provider. ``roles``: by the groups that claim ``groups`` lists;
    ``name``: the claim by which the journal knows a person; ``label``: what the provider is called
    on the page of signing in; ``secret_file``: holds our secret, "" for a public client."""

    issuer: str
    client_id: str
    roles: dict[str, Role]
    secret_file: str = ""
    groups: str = "groups"
    name: str = "email"
    label: str = "your organisation"
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    algorithms: tuple[str, ...] = ALGORITHMS


class _Begun(msgspec.Struct, frozen=True):
    """A browser that was sent to the provider."""

    nonce: str
    verifier: str
    target: str
    until: int


def check_client(client: Client) -> Client:
    """The client, if it can be; `Misuse` says what is wrong."""
    if not _is_safe(client.issuer):
        raise Misuse(f"oidc: issuer {client.issuer!r}: say an https address")
    if not client.roles:
        raise Misuse("oidc: roles: say which group has which role, or nobody can sign in")
    if wrong := set(client.algorithms) - set(ALGORITHMS):
        raise Misuse(f"oidc: algorithms: {wrong.pop()!r} is not one of {', '.join(ALGORITHMS)}")
    if "openid" not in client.scopes:
        raise Misuse("oidc: scopes: openid must be among them")
    return client


def _is_safe(url: Any) -> bool:
    """Whether an address keeps secrets: https, or this machine."""
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    local = parts.scheme == "http" and parts.hostname in LOCAL
    return (parts.scheme == "https" or local) and bool(parts.hostname)


class Oidc:
    """A provider. ``url``: of our site, as browsers see it; ``secret``: ours, "" for none."""

    def __init__(
        self, client: Client, *, url: str, secret: str, clock: Clock, dice: Dice
    ) -> None:  # fmt: skip
        self.client = check_client(client)
        self.label = client.label
        self._back = url.rstrip("/") + CALLBACK
        self._secret = secret
        self._clock = clock
        self._dice = dice
        self._begun: dict[str, _Begun] = {}
        self._known: dict[str, Any] = {}
        self._known_at = 0
        self._keys: KeySet | None = None
        self._keys_at = 0

    async def begin(self, target: str) -> tuple[str, str]:
        """Where to send a browser that wants to ``target``, and the state that its cookie keeps."""
        provider, now = await self._provider(), self._clock.now_ms()
        self._begun = {key: one for key, one in self._begun.items() if one.until > now}
        if len(self._begun) >= limits.VISITS_ITEMS:
            raise Turned(503, "too_many", "too many are signing in", "try again later")
        state, nonce, verifier = (new_id(self._dice, chars=count) for count in (32, 32, 64))
        until = now + int(limits.OIDC_SECONDS * 1000)
        self._begun[digest(state)] = _Begun(nonce, verifier, target, until)
        challenge = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code", "client_id": self.client.client_id, "state": state,
            "redirect_uri": self._back, "scope": " ".join(self.client.scopes), "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }  # fmt: skip
        place = provider["authorization_endpoint"]
        return f"{place}{'&' if '?' in place else '?'}{urlencode(query)}", state

    async def finish(self, cookie: str, query: Mapping[str, str]) -> tuple[Person, str]:
        """Who came back, and where they wanted to; `Turned` if anything about it is odd.

        INVARIANT X117: an answer of a provider counts once, for the browser that asked for it.
        """
        state = query.get("state", "")
        if not state or not hmac.compare_digest(
            state.encode("utf-8", "replace"), cookie.encode("utf-8", "replace")
        ):
            raise _refused("it was not begun in this browser")
        begun = self._begun.pop(digest(state), None)
        if begun is None or begun.until <= self._clock.now_ms():
            raise _refused("it took too long, or was finished before")
        if query.get("iss", self.client.issuer) != self.client.issuer:
            raise _refused("another provider answered")
        if "error" in query or not query.get("code"):
            raise _refused("the provider refused")
        token = await self._token(query["code"], begun.verifier)
        return self._person(await self._claims(token, begun.nonce)), begun.target

    # What the provider says ---------------------------------------------------------------------

    async def _provider(self) -> dict[str, Any]:
        now = self._clock.now_ms()
        if not self._known or now - self._known_at > limits.OIDC_KEPT_SECONDS * 1000:
            place = self.client.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = await _fetch("GET", place)
            if found.get("issuer") != self.client.issuer:
                raise Outside(f"{place}: it is of another issuer than oidc.issuer says")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not _is_safe(found.get(name)):
                    raise Outside(f"{place}: {name} is no https address")
            self._known, self._known_at = found, now
        return self._known

    async def _token(self, code: str, verifier: str) -> str:
        provider, client = await self._provider(), self.client
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self._back,
            "code_verifier": verifier, "client_id": client.client_id,
        }  # fmt: skip
        headers: dict[str, str] = {}
        if self._secret:  # each form-encoded first, as RFC 6749, 2.3.1 says
            login = f"{quote_plus(client.client_id)}:{quote_plus(self._secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        found = await _fetch("POST", provider["token_endpoint"], form, headers)
        token = found.get("id_token")
        if not isinstance(token, str):
            raise _refused("the provider gave no ID token")
        return token

    async def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """What an ID token says, if it is for us, now, and for this browser.

        INVARIANT X118: a token counts only if a key of the provider signed it by an algorithm that
        is allowed, for this client and this nonce, and it has not expired.
        """
        claims = await self._verified(token)
        client, now, slack = self.client, self._clock.now_ms() / 1000, limits.OIDC_SLACK_SECONDS
        audience = claims.get("aud")
        several = audience if isinstance(audience, list) else [audience]
        expires, issued = claims.get("exp"), claims.get("iat")
        begins = claims.get("nbf", 0)
        checks = {
            "iss": claims.get("iss") == client.issuer,
            "aud": client.client_id in several,
            "azp": claims.get("azp", client.client_id) == client.client_id
            and (len(several) == 1 or "azp" in claims),
            "exp": now < _time(expires, -1e18) + slack,
            "iat": _time(issued, 1e18) - slack <= now,
            "nbf": _time(begins, 1e18) - slack <= now,
            "nonce": isinstance(claims.get("nonce"), str)
            and hmac.compare_digest(claims["nonce"].encode(), nonce.encode()),
            "sub": isinstance(claims.get("sub"), str) and bool(claims["sub"]),
        }
        if wrong := [name for name, right in checks.items() if not right]:
            raise _refused(f"its ID token has a wrong {wrong[0]}")
        return claims

    async def _verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that a key of the provider signed. Keys that are not known yet are
        looked for once: providers change them."""
        for fresh in (False, True):
            keys = await self._key_set(fresh=fresh)
            try:
                return jwt.decode(token, keys, algorithms=list(self.client.algorithms)).claims
            except (JoseError, ValueError, TypeError, KeyError):
                continue
        raise _refused("its ID token is not signed by the provider")

    async def _key_set(self, *, fresh: bool) -> KeySet:
        now = self._clock.now_ms()
        age = now - self._keys_at
        again = fresh and age > limits.OIDC_KEYS_SECONDS * 1000
        if self._keys is None or again or age > limits.OIDC_KEPT_SECONDS * 1000:
            place = (await self._provider())["jwks_uri"]
            try:
                found: Any = await _fetch("GET", place)
                self._keys = KeySet.import_key_set(found)
            except (JoseError, ValueError, TypeError, KeyError):
                raise Outside(f"{place}: these are no keys") from None
            self._keys_at = now
        return self._keys

    def _person(self, claims: Mapping[str, Any]) -> Person:
        """INVARIANT X119: a name is one that the provider vouches for, a role one of the person's
        groups; who has neither does not come in."""
        client = self.client
        name, groups = claims.get(client.name), claims.get(client.groups)
        if client.name == "email" and claims.get("email_verified") is not True:
            raise _refused("the provider has not verified your address")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 200:
            raise _refused(f"the provider does not say who you are ({client.name})")
        named = groups if isinstance(groups, list) else [groups]
        roles: list[Role] = [
            client.roles[one] for one in named if isinstance(one, str) and one in client.roles
        ]
        if not roles:
            raise Turned(403, "no_role", f"{name} is in no group that may come in",
                         "ask whoever runs this for a group with a role")  # fmt: skip
        return Person(name, next(role for role in reversed(ROLES) if role in roles))


def _time(value: Any, wrong: float) -> float:
    """A time of a token; ``wrong``, at which it fails, for what is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else wrong


def _refused(why: str) -> Turned:
    return Turned(403, "not_signed_in", f"signing in did not work: {why}", "sign in again")


async def _fetch(
    method: str, url: str, form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A JSON object from the provider; `Outside` shows its host and nothing that was sent."""
    place = urlsplit(url).hostname
    timeout = aiohttp.ClientTimeout(total=limits.OIDC_ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as client,
            client.request(method, url, data=form, allow_redirects=False) as reply,
        ):
            if reply.status != 200:
                raise Outside(f"{place}: it answered {reply.status}", retryable=True)
            content = bytearray()
            async for piece in reply.content.iter_any():
                content += piece
                if len(content) > limits.OIDC_ANSWER_BYTES:
                    raise Outside(f"{place}: its answer is too long", retryable=True)
            found = msgspec.json.decode(content)
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Outside(f"{place}: {type(error).__name__}", retryable=True) from None
    if not isinstance(found, dict):
        raise Outside(f"{place}: it answered no JSON object")
    return found
