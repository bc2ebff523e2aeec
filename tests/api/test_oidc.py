"""Signing in at an OpenID provider: the whole way, and each thing that can be wrong with it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import OctKey, RSAKey

from holdfast.api.oidc import Client, Oidc, check_client
from holdfast.api.site import Site
from holdfast.testing.clock import SeededDice
from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside
from tests.api.provider import SECRET, Provider, query
from tests.api.sites import Reply, call, site_on
from tests.api.test_access import Ticks

URL = "https://holdfast.example.org"
HOST = "holdfast.example.org"
ROLES: dict[str, Any] = {"staff": "viewer", "reviewers": "approver", "admins": "admin"}


class Place:
    """A site whose persons sign in at a provider."""

    def __init__(self, site: Site, provider: Provider, clock: Ticks) -> None:
        self.site = site
        self.provider = provider
        self.clock = clock

    async def begin(self, target: str = "/runs?x=1") -> tuple[str, str]:
        """The provider's address, and our cookie."""
        reply = await call(self.site, "GET", f"/signin/oidc?next={target}", host=HOST)
        assert reply.status == 303, reply.body
        flags = reply.header("set-cookie").lower()
        assert "samesite=lax" in flags
        assert "httponly" in flags
        assert "secure" in flags
        return reply.header("location"), reply.cookie

    async def back(self, found: dict[str, str], cookie: str) -> Reply:
        return await call(self.site, "GET", f"/signin/oidc/callback?{query(found)}", host=HOST,
                          headers={"cookie": cookie, "sec-fetch-site": "cross-site"})  # fmt: skip

    async def sign_in(self) -> Reply:
        place, cookie = await self.begin()
        return await self.back(self.provider.sign_in(place), cookie)


@contextlib.asynccontextmanager
async def place(**more: Any) -> AsyncGenerator[Place]:
    async with Provider().open() as provider:
        clock = Ticks()
        provider.now = clock.ms // 1000
        client = Client(provider.url, "holdfast", ROLES, **more)
        oidc = Oidc(client, url=URL, secret=SECRET, clock=clock, dice=SeededDice(3))
        async with site_on(None, clock=clock, url=URL, provider=oidc) as site:
            yield Place(site, provider, clock)


async def test_a_person_signs_in_with_the_highest_role_of_their_groups():
    async with place() as here:
        reply = await here.sign_in()
        assert reply.status == 200
        assert b"url=/runs?x=1" in reply.body
        cookies = [value for name, value in reply.headers if name == "set-cookie"]
        (ours,) = [one for one in cookies if one.startswith("__Host-holdfast=")]
        assert "samesite=strict" in ours.lower()
        visit = here.site.access.visit(ours.partition(";")[0].partition("=")[2])
        assert visit is not None
        assert (visit.person.name, visit.person.role) == ("ann@example.org", "approver")
        form = await call(here.site, "GET", "/signin", host=HOST)
        assert b"/signin/oidc" in form.body


async def test_an_answer_counts_once_and_for_the_browser_that_asked():
    """X117."""
    async with place() as here:
        where, cookie = await here.begin()
        found = here.provider.sign_in(where)
        other_where, other_cookie = await here.begin()
        assert where != other_where
        assert (await here.back(found, other_cookie)).status == 403
        assert (await here.back(found, "")).status == 403
        assert (await here.back({**found, "state": "x"}, cookie)).status == 403
        assert (await here.back(found, cookie)).status == 200
        assert (await here.back(found, cookie)).status == 403
        late = here.provider.sign_in(other_where)
        here.clock.ms += int(limits.OIDC_SECONDS * 1000) + 1
        assert (await here.back(late, other_cookie)).status == 403


async def test_answers_of_another_provider_and_refusals_do_not_count():
    async with place() as here:
        for change in ({"iss": "https://evil.example"}, {"error": "access_denied"}, {"code": ""},
                       {"code": "guessed"}):  # fmt: skip
            where, cookie = await here.begin()
            found = here.provider.sign_in(where) | change
            assert (await here.back(found, cookie)).status in (403, 503), change


WRONG: dict[str, Any] = {
    "iss": "https://evil.example", "aud": "another-client", "exp": 1, "iat": 9e12, "nbf": 9e12,
    "nonce": "another", "sub": "", "azp": "another-client", "email_verified": "true",
    "email": "ann\n@example.org", "groups": ["nobodies"],
}  # fmt: skip
BROKEN = [
    *WRONG.items(), ("exp", None), ("exp", "9999999999999"), ("exp", True), ("nonce", None),
    ("aud", ["holdfast", "another"]), ("sub", 7), ("email", None), ("email_verified", False),
    ("groups", None), ("groups", {"admins": 1}), ("groups", "nobodies"), ("iat", None),
]  # fmt: skip


async def test_a_token_with_anything_wrong_lets_nobody_in():
    """X118, X119."""
    async with place() as here:
        for claim, value in BROKEN:

            def bend(claims: dict[str, Any], wrong: Any = (claim, value)) -> None:
                claims[wrong[0]] = wrong[1]

            here.provider.bend = bend
            reply = await here.sign_in()
            assert reply.status == 403, (claim, value, reply.body)
            assert not any(one.startswith("__Host-holdfast=") for _, one in reply.headers)


async def test_a_token_for_several_counts_if_it_was_made_for_us():
    async with place() as here:
        here.provider.bend = lambda claims: claims.update(
            {"aud": ["another", "holdfast"], "azp": "holdfast"}
        )
        assert (await here.sign_in()).status == 200


async def test_signatures_of_others_and_by_other_algorithms_do_not_count():
    """X118."""
    async with place() as here:
        provider = here.provider
        assert (await here.sign_in()).status == 200
        own = list(provider.keys)
        provider.keys = [OctKey.import_key(SECRET.encode().ljust(32), {"kid": "one"})]
        provider.algorithm = "HS256"
        assert (await here.sign_in()).status == 403
        provider.keys, provider.algorithm = own, "RS512"
        assert (await here.sign_in()).status == 403
        provider.algorithm = "none"
        assert (await here.sign_in()).status == 403


async def test_keys_that_change_are_followed_and_no_token_makes_us_ask_again_and_again():
    async with place() as here:
        assert (await here.sign_in()).status == 200
        here.provider.rotate()
        here.clock.ms += int(limits.OIDC_KEYS_SECONDS * 1000) + 1
        assert (await here.sign_in()).status == 200
        asked = here.provider.asked["/keys"]
        here.provider.keys = [RSAKey.generate_key(2048, {"kid": "stranger"})]
        here.provider.algorithm = "RS256"
        shown = here.provider.keys
        for _ in range(3):
            assert (await here.sign_in()).status == 403
        assert here.provider.asked["/keys"] == asked
        assert shown


async def test_keys_that_come_in_pieces_are_read_whole_and_too_long_ones_not_at_all():
    async with place() as here:
        here.provider.pieces = 5
        assert (await here.sign_in()).status == 200
    async with place() as here:
        here.provider.pieces = 3
        here.provider.padding = limits.OIDC_ANSWER_BYTES
        reply = await here.sign_in()
        assert reply.status == 503
        assert b"too long" in reply.body


async def test_a_provider_that_is_not_who_it_should_be_is_not_used():
    async with place() as here:
        here.provider.metadata = {"issuer": "https://evil.example"}
        assert (await call(here.site, "GET", "/signin/oidc", host=HOST)).status == 503
        here.provider.metadata = {"token_endpoint": "http://evil.example/token"}
        reply = await call(here.site, "GET", "/signin/oidc", host=HOST)
        assert reply.status == 503
        assert SECRET.encode() not in reply.body


async def test_what_is_sent_to_the_provider_holds_no_secret():
    async with place() as here:
        where, cookie = await here.begin()
        asked = parse_qs(urlsplit(where).query)
        assert asked["redirect_uri"] == [f"{URL}/signin/oidc/callback"]
        assert SECRET not in where
        assert "code_verifier" not in asked
        assert asked["state"][0] == cookie.partition("=")[2]
        assert asked["nonce"] != asked["state"]


async def test_nobody_answers_where_no_provider_is():
    oidc = Oidc(Client("http://127.0.0.1:9", "holdfast", ROLES), url=URL, secret="",
                clock=Ticks(), dice=SeededDice(1))  # fmt: skip
    with pytest.raises(Outside, match=r"127\.0\.0\.1"):
        await oidc.begin("/")
    async with site_on(None) as site:
        assert (await call(site, "GET", "/signin/oidc")).status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://idp.example.org"}, {"issuer": "idp"}, {"roles": {}},
        {"algorithms": ("HS256",)}, {"algorithms": ("none",)}, {"scopes": ("email",)},
    ],
)  # fmt: skip
def test_settings_that_would_be_unsafe_are_refused(wrong: dict[str, Any]):
    fine: dict[str, Any] = {"issuer": "https://idp.example.org", "client_id": "x", "roles": ROLES}
    check_client(Client(**fine))
    with pytest.raises(Misuse, match="oidc"):
        check_client(Client(**(fine | wrong)))
