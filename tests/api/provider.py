"""A small OpenID provider on loopback: real HTTP, real keys and signatures, nothing of a browser.

It stands in for an organisation's own: discovery, authorization codes bound to a PKCE challenge, a
token endpoint that wants the client's secret, keys that can be changed. What it says in a token can
be bent by a test.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

SECRET = "the-secret-of-our-client"
RSA = RSAKey.generate_key(2048, {"kid": "one"})


class Provider:
    """``bend``: changes claims before they are signed; ``algorithm``, ``header``: how. ``pieces``:
    its keys come in so many; ``padding``: spaces behind them."""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSA]
        self.url = ""
        self.algorithm = "RS256"
        self.header: dict[str, Any] = {}
        self.bend: Callable[[dict[str, Any]], Any] = lambda claims: None
        self.asked: dict[str, int] = {}
        self.metadata: dict[str, Any] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self.now = 1_700_000_000
        self.pieces = 1
        self.padding = 0

    def rotate(self) -> None:
        self.keys = [ECKey.generate_key("P-256", {"kid": f"key-{len(self.keys) + 1}"})]
        self.algorithm = "ES256"

    def sign_in(self, place: str) -> dict[str, str]:
        """What a person's browser brings back who agreed on the page at ``place``."""
        parts = urlsplit(place)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/authorize"
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.url}

    async def _about(self, request: web.Request) -> web.Response:
        self._count(request)
        return web.json_response({
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
        } | self.metadata)  # fmt: skip

    async def _keys(self, request: web.Request) -> web.StreamResponse:
        self._count(request)
        shown = [key for key in self.keys if not isinstance(key, OctKey)]
        text = json.dumps(KeySet(shown).as_dict(private=False)) + " " * self.padding
        reply = web.StreamResponse(headers={"content-type": "application/json"})
        await reply.prepare(request)
        size = -(-len(text) // self.pieces)
        with contextlib.suppress(ConnectionError):  # whoever has read enough hangs up
            for start in range(0, len(text), size):
                await reply.write(text[start : start + size].encode())
                await asyncio.sleep(0.01 if self.pieces > 1 else 0)  # so that few go together
            await reply.write_eof()
        return reply

    async def _token(self, request: web.Request) -> web.Response:
        self._count(request)
        form = await request.post()
        asked = self._codes.pop(str(form["code"]), None)
        login = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        ).rstrip(b"=")
        if (
            asked is None
            or login != f"holdfast:{SECRET}"
            or challenge.decode() != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        claims: dict[str, Any] = {
            "iss": self.url, "aud": "holdfast", "sub": "1", "iat": self.now, "exp": self.now + 300,
            "nonce": asked["nonce"], "email": "ann@example.org", "email_verified": True,
            "groups": ["staff", "reviewers"],
        }  # fmt: skip
        claims = self.bend(claims) or claims
        key = self.keys[-1]
        header = {"alg": self.algorithm, "kid": key.kid} | self.header
        if self.algorithm == "none":
            parts = (json.dumps(one).encode() for one in (header, claims))
            token = ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts)
            token += "."
        else:
            token = jwt.encode(header, claims, key, algorithms=[self.algorithm])
        return web.json_response({"id_token": token, "access_token": "x", "token_type": "Bearer"})

    def _count(self, request: web.Request) -> None:
        self.asked[request.path] = self.asked.get(request.path, 0) + 1

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[Provider]:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._about)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


def query(found: dict[str, str]) -> str:
    return urlencode(found)
