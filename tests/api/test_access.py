"""Who comes in, and what they may do: every route with every role, and every trick on browsers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route

from holdfast.api import guard
from holdfast.api.access import ROLES, Access, Person, Turned, digest
from holdfast.api.app import create_app
from holdfast.api.console import pages
from holdfast.api.signin import local
from holdfast.api.site import Site
from holdfast.api.table import WAYS
from holdfast.api.ways import PREFIX, Way
from holdfast.testing.clock import SeededDice
from holdfast.values import limits
from tests.api.sites import METRICS, PEOPLE, TOKENS, Reply, call, site_on

PUBLIC = {("GET", "/healthz"), ("GET", "/signin"), ("POST", "/signin"), ("POST", "/signout")}
"""What takes nobody to sign in; signing out of nothing does nothing."""
SAMPLES = {"run": "none-such", "step": "1", "pos": "0", "root": "0" * 64}


class Ticks:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def ticks_ns(self) -> int:
        return self.ms * 1_000_000


def path_of(way: Way) -> str:
    return PREFIX + re.sub(r"{(\w+)}", lambda found: SAMPLES[found[1]], way.path)


async def ask(site: Site, way: Way, token: str) -> Reply:
    return await call(site, way.method, path_of(way), token=token,
                      json_body={} if way.method == "POST" else None)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.method} {way.path}")
async def test_every_route_of_the_table_takes_its_role_and_no_lower(way: Way):
    """X109."""
    async with site_on(None) as site:
        site.feed.close()  # a stream ends at once
        assert (await ask(site, way, "")).status == 401
        for role in ROLES:
            reply = await ask(site, way, TOKENS[role])
            if ROLES.index(role) >= ROLES.index(way.role):
                assert reply.status not in (401, 403), (role, reply.body)
            else:
                assert reply.status == 403, (role, reply.body)
                assert reply.json["error"]["code"] == "not_allowed"


def test_no_way_that_changes_something_is_a_viewers():
    assert all(way.role != "viewer" for way in WAYS if way.method != "GET")
    assert all(way.method in ("GET", "POST") for way in WAYS)


async def test_every_route_that_is_not_public_turns_strangers_away():
    """Also those of the console, whoever wrote them: a route that asks nobody fails here."""
    async with site_on(None) as site:
        known = {(way.method, PREFIX + way.path) for way in WAYS}
        routes = [one for one in create_app(site).routes if isinstance(one, Route)]
        assert {one.path for one in routes} >= {"/metrics", "/healthz", "/signin", "/signout"}
        for route in routes:
            for method in (route.methods or set()) - {"HEAD"}:
                if (method, route.path) in PUBLIC | known:
                    continue
                path = re.sub(r"{\w+(:\w+)?}", "0", route.path)
                reply = await call(site, method, path)
                assert reply.status in (303, 401, 403), (method, route.path, reply.status)
                if reply.status == 303:
                    assert reply.header("location").startswith("/signin")


async def test_pages_that_need_somebody_lead_to_signing_in(monkeypatch: pytest.MonkeyPatch):
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    from holdfast.api.access import csrf_of, need, person_of

    async def page(request: Request) -> Any:
        need(request, "approver")
        person = person_of(request)
        return PlainTextResponse(f"{person and person.name} {csrf_of(request)}")

    monkeypatch.setattr(pages, "routes", lambda: [Route("/page/{one}", page)])
    async with site_on(None) as site:
        away = await call(site, "GET", "/page/x?a=1&b=2")
        assert away.status == 303
        assert away.header("location") == "/signin?next=/page/x%3Fa%3D1%26b%3D2"
        viewer = await call(site, "GET", "/page/x", token=TOKENS["viewer"])
        assert viewer.status == 403
        assert b"<h1>Not possible</h1>" in viewer.body
        secret = site.access.open(PEOPLE["approver"])
        seen = await call(site, "GET", "/page/x", headers=cookie(site, secret))
        visit = site.access.visit(secret)
        assert visit is not None
        assert seen.body.decode() == f"approver-person {visit.csrf}"


def cookie(site: Site, secret: str) -> dict[str, str]:
    return {"cookie": f"{site.access.cookie}={secret}"}


# Signing in -------------------------------------------------------------------------------------


async def test_a_link_signs_in_once_and_leaves_no_token_in_the_address():
    """X100, X101."""
    async with site_on(None) as site:
        token = site.access.link(PEOPLE["admin"])
        first = await call(site, "GET", f"/signin?token={token}&next=/runs")
        assert (first.status, first.header("location")) == (303, "/runs")
        flags = {part.strip().lower() for part in first.header("set-cookie").split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= flags
        assert "secure" not in flags
        secret = first.cookie.partition("=")[2]
        assert secret not in repr(vars(site.access))
        assert token not in repr(vars(site.access))
        again = await call(site, "GET", f"/signin?token={token}")
        assert again.status == 401
        assert not again.cookie
        seen = await call(site, "GET", "/api/v1/runs", headers={"cookie": first.cookie})
        assert seen.status == 200


async def test_cookies_are_secure_and_bound_to_the_host_where_browsers_come_by_https():
    async with site_on(None, url="https://holdfast.example.org") as site:
        form = f"token={TOKENS['viewer']}".encode()
        reply = await call(site, "POST", "/signin", form=form, host="holdfast.example.org",
                           headers={"origin": "https://holdfast.example.org"})  # fmt: skip
        assert reply.status == 303
        assert "Secure" in reply.header("set-cookie")
        assert reply.cookie.startswith("__Host-holdfast=")
        assert reply.header("strict-transport-security")


async def test_signing_out_ends_the_visit_on_the_server():
    async with site_on(None) as site:
        secret = site.access.open(PEOPLE["admin"])
        visit = site.access.visit(secret)
        assert visit is not None
        out = await call(site, "POST", "/signout", form=f"csrf={visit.csrf}".encode(),
                         headers=cookie(site, secret))  # fmt: skip
        assert (out.status, out.header("location")) == (303, "/signin")
        seen = await call(site, "GET", "/api/v1/runs", headers=cookie(site, secret))
        assert seen.status == 401


async def test_a_visit_ends_with_its_time_and_the_oldest_goes_first():
    clock = Ticks()
    access = Access({}, clock=clock, dice=SeededDice(1))
    first = access.open(PEOPLE["viewer"])
    clock.ms += int(limits.VISIT_SECONDS * 1000) - 1
    assert access.visit(first)
    clock.ms += 1
    assert access.visit(first) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "VISITS_ITEMS", 2)
        kept: list[str] = []
        for _ in range(3):
            clock.ms += 1
            kept.append(access.open(PEOPLE["viewer"]))
        assert [access.visit(one) is not None for one in kept] == [False, True, True]


async def test_failed_attempts_are_limited_and_forgotten_after_a_while():
    clock = Ticks()
    async with site_on(None, clock=clock) as site:
        for _ in range(limits.SIGNIN_ATTEMPTS):
            assert (await call(site, "POST", "/signin", form=b"token=wrong")).status == 401
        right = f"token={TOKENS['viewer']}".encode()
        late = await call(site, "POST", "/signin", form=right)
        assert late.status == 429
        assert 0 < int(late.header("retry-after")) <= limits.SIGNIN_WAIT_SECONDS + 1
        assert (await call(site, "GET", "/api/v1/runs", token="wrong")).status == 429
        # whoever has a right token is not shut out by others' wrong ones
        assert (await call(site, "GET", "/api/v1/runs", token=TOKENS["viewer"])).status == 200
        clock.ms += int(limits.SIGNIN_WAIT_SECONDS * 1000) + 1
        assert (await call(site, "POST", "/signin", form=right)).status == 303


def test_addresses_whose_failures_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "SIGNIN_ADDRESSES_ENTRIES", 3)
    clock = Ticks()
    access = Access({}, clock=clock, dice=SeededDice(1))
    for number in range(50):
        clock.ms += 1
        access.failed(f"10.0.0.{number}")
    for number in range(47, 50):
        for _ in range(limits.SIGNIN_ATTEMPTS):
            access.failed(f"10.0.0.{number}")
        with pytest.raises(Turned):
            access.check_tries(f"10.0.0.{number}")
    access.check_tries("10.0.0.1")


@given(st.text(max_size=30))
def test_signing_in_leads_to_paths_of_this_site_only(target: str):
    """X108."""
    for one in (target, "/" + target, "//" + target, "/\\" + target, "/\t/" + target):
        found = local(one)
        assert re.match(r"/(?![/\\])", found) or found == "/"
        assert "\\" not in found
        assert found.isprintable()


@given(st.text(max_size=20), st.sampled_from(ROLES))
def test_a_token_is_known_by_itself_only(other: str, role: Any):
    access = Access({digest("right"): Person("ann", role)}, clock=Ticks(), dice=SeededDice(1))
    assert access.by_token("right") == Person("ann", role)
    assert (access.by_token(other) is not None) == (other == "right")
    assert not access.reads_metrics(other)


# Tricks on browsers -----------------------------------------------------------------------------

SWITCH = {"what": "tool", "name": "pay"}


async def post(site: Site, **headers: str) -> int:
    """A change by a browser that signed in as admin."""
    secret = site.access.open(PEOPLE["admin"])
    visit = site.access.visit(secret)
    assert visit is not None
    sent = {name.replace("_", "-"): value.replace("CSRF", visit.csrf)
            for name, value in headers.items()}  # fmt: skip
    reply = await call(site, "POST", "/api/v1/switches", json_body=SWITCH,
                       headers={**cookie(site, secret), **sent})  # fmt: skip
    return reply.status


async def test_a_browser_changes_nothing_without_the_token_of_its_own_visit():
    """X107."""
    async with site_on(None) as site:
        assert await post(site) == 403
        assert await post(site, x_csrf_token="wrong") == 403
        other = site.access.visit(site.access.open(PEOPLE["admin"]))
        assert other is not None
        assert await post(site, x_csrf_token=other.csrf) == 403
        assert await post(site, x_csrf_token="\u00e9") == 403
        assert await post(site, x_csrf_token="CSRF") == 200


async def test_pages_elsewhere_change_nothing_whatever_token_they_have():
    """X105."""
    async with site_on(None) as site:
        good = {"x_csrf_token": "CSRF"}
        for origin in ("http://evil.example", "null", "http://127.0.0.1:2", "https://127.0.0.1:1"):
            assert await post(site, **good, origin=origin) == 403, origin
        for kind in ("cross-site", "same-site", "odd"):
            assert await post(site, **good, sec_fetch_site=kind) == 403, kind
        ours = "http://127.0.0.1:1"
        assert await post(site, **good, origin=ours, sec_fetch_site="same-origin") == 200
        form = f"token={TOKENS['viewer']}".encode()
        reply = await call(site, "POST", "/signin", form=form,
                           headers={"origin": "http://evil.example"})  # fmt: skip
        assert reply.status == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:1", "127.0.0.1.evil.example", "", "[::1", "a b", "0.0.0.0"],
)
async def test_names_that_are_not_ours_are_turned_away(host: str):
    """X104."""
    async with site_on(None) as site:
        for path in ("/api/v1/runs", "/", "/signin", "/static/x.css"):
            reply = await call(site, "GET", path, token=TOKENS["admin"], host=host)
            assert reply.status == 403, path
        assert (await call(site, "GET", "/healthz", host=host)).status == 200


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:1"])
async def test_names_of_this_machine_are_served(host: str):
    async with site_on(None) as site:
        reply = await call(site, "GET", "/api/v1/runs", token=TOKENS["viewer"], host=host)
        assert reply.status == 200


async def test_every_answer_carries_what_keeps_a_browser_safe(monkeypatch: pytest.MonkeyPatch):
    """X102, X103: also answers to strangers, to what nobody foresaw, and of files."""

    async def breaks(site: Site, *_: Any, **__: Any) -> Any:
        raise RuntimeError("secret-in-an-error")

    async with site_on(None) as site:
        replies = [
            await call(site, method, path, token=TOKENS["admin"] if known else "")
            for method, path in (
                ("GET", "/api/v1/runs"), ("GET", "/signin"), ("GET", "/static/none.js"),
                ("GET", "/nowhere"), ("PUT", "/api/v1/runs"), ("GET", "/metrics"),
                ("OPTIONS", "/api/v1/runs"), ("GET", "/api/v1/runs/none"),
            )
            for known in (True, False)
        ]  # fmt: skip
        monkeypatch.setattr(type(site.runtime.store), "runs", breaks)
        broken = await call(site, "GET", "/api/v1/runs", token=TOKENS["admin"])
        assert broken.status == 500
        assert b"secret-in-an-error" not in broken.body
        assert broken.json["error"]["code"] == "unexpected"
        for reply in [*replies, broken]:
            for name, value in guard.HEADERS.items():
                assert reply.header(name.lower()) == value
            assert reply.header("cache-control") in ("no-store", "no-cache")
            assert "access-control-allow-origin" not in dict(reply.headers)
            assert not reply.header("server")
    script = guard.HEADERS["Content-Security-Policy"]
    assert "unsafe" not in script
    assert script.startswith("default-src 'none';")


# Metrics ----------------------------------------------------------------------------------------


async def test_the_token_of_metrics_reads_metrics_and_nothing_else():
    async with site_on(None) as site:
        assert (await call(site, "GET", "/metrics")).status == 401
        assert (await call(site, "GET", "/metrics", token=METRICS)).status == 200
        assert (await call(site, "GET", "/metrics", token=TOKENS["viewer"])).status == 200
        for way in WAYS:
            assert (await ask(site, way, METRICS)).status == 401, way.path
