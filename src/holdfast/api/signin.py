"""Signing in and out in a browser."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holdfast.api.access import Person, Turned
from holdfast.api.replies import page
from holdfast.api.site import Site, site_of
from holdfast.values import limits


def routes() -> list[Route]:
    """The pages of signing in."""
    return [
        Route("/signin", _show, methods=["GET"]),
        Route("/signin", _enter, methods=["POST"]),
        Route("/signin/oidc", _away, methods=["GET"]),
        Route("/signin/oidc/callback", _back, methods=["GET"]),
        Route("/signout", _leave, methods=["POST"]),
    ]


def local(target: str) -> str:
    """A path of this site; "/" for anything else. INVARIANT X108: signing in leads nowhere else."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\", "/signin"))
    return target if plain and target.isprintable() and "\\" not in target else "/"


def signed_in(site: Site, person: Person, answer: Response) -> Response:
    """``answer`` with the cookie of a browser that is signed in from now on."""
    access = site.access
    answer.set_cookie(
        access.cookie, access.open(person), max_age=int(limits.VISIT_SECONDS), path="/",
        secure=access.https, httponly=True, samesite="strict",
    )  # fmt: skip
    return answer


async def _show(request: Request) -> Response:
    site, target = site_of(request), local(request.query_params.get("next", "/"))
    token = request.query_params.get("token")
    if token is None:
        return _form(site, target)
    return _taken(request, site.access.by_link, token, target)


async def _enter(request: Request) -> Response:
    form = await request.form()
    target, token = form.get("next", "/"), form.get("token", "")
    if not isinstance(target, str) or not isinstance(token, str):
        raise Turned(400, "malformed", "a form has text only")
    return _taken(request, site_of(request).access.by_token, token.strip(), local(target))


def _taken(request: Request, whose: object, token: str, target: str) -> Response:
    site = site_of(request)
    address = request.client.host if request.client else ""
    site.access.check_tries(address)
    person = whose(token) if callable(whose) else None
    if not isinstance(person, Person):
        site.access.failed(address)
        return _form(site, target, "This token is not known here, or was used already.", 401)
    return signed_in(site, person, RedirectResponse(target, 303))


def _form(site: Site, target: str, wrong: str = "", status: int = 200) -> Response:
    access = site.access
    label = access.provider.label if access.provider else ""
    tokens = access.takes_tokens or not label
    return page("signin.html", status, wrong=wrong, next=target, oidc=label, tokens=tokens)


async def _away(request: Request) -> Response:
    """To the provider. The cookie is lax: the provider's page sends the browser back."""
    access = site_of(request).access
    if access.provider is None:
        raise Turned(404, "not_found", "nobody signs in elsewhere here")
    place, state = await access.provider.begin(local(request.query_params.get("next", "/")))
    answer = RedirectResponse(place, 303)
    answer.set_cookie(
        access.cookie + "-oidc", state, max_age=int(limits.OIDC_SECONDS), path="/",
        secure=access.https, httponly=True, samesite="lax",
    )  # fmt: skip
    return answer


async def _back(request: Request) -> Response:
    site = site_of(request)
    access = site.access
    if access.provider is None:
        raise Turned(404, "not_found", "nobody signs in elsewhere here")
    name = access.cookie + "-oidc"
    person, target = await access.provider.finish(
        request.cookies.get(name, ""), dict(request.query_params)
    )
    # a page, not a redirect: a browser that comes from elsewhere sends no strict cookie on one
    answer = signed_in(site, person, page("signed_in.html", target=target, person=person.name))
    answer.delete_cookie(name, path="/", secure=access.https, httponly=True, samesite="lax")
    return answer


async def _leave(request: Request) -> Response:
    access = site_of(request).access
    access.close(request.cookies.get(access.cookie, ""))
    answer = RedirectResponse("/signin", 303)
    answer.delete_cookie(access.cookie, path="/", secure=access.https, httponly=True,
                         samesite="strict")  # fmt: skip
    return answer
