"""A chat as a view of the queue: posts what runs ask, and takes signed clicks as answers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdfast.api import slack
from holdfast.engine.answers import REFUSED, answer
from holdfast.engine.inbox import Open, open_questions, question_of
from holdfast.engine.seeding import Seeded, planted
from holdfast.journal.events import Draft, FindingAdded
from holdfast.journal.quorum import missing
from holdfast.journal.store import Batch, Store
from holdfast.runtime.serving import served
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import (
    Conflict,
    Expired,
    HoldfastError,
    Misuse,
    NotFound,
    Outside,
    Refused,
    TooLarge,
)
from holdfast.values.ports import Clock


class Chat(msgspec.Struct, frozen=True):
    """Where a chat is and who is in it. ``url``: takes messages, and is itself a secret; ``secret``
    signs callbacks; ``people``: who approves, by the chat's id of them."""

    url: str
    secret: bytes
    people: Mapping[str, str]

    def __repr__(self) -> str:  # neither the address nor the secret may get into a log
        return f"<chat at {urlsplit(self.url).hostname}>"


class Desk:
    """One chat on one store. ``say`` gets a line for whoever watches the server; ``sowing``: what
    seeded cases are put among the questions, if any."""

    def __init__(
        self, store: Store, chat: Chat, clock: Clock, say: Callable[[str], None],
        sowing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        self._sowing = sowing
        self.store = store
        self.chat = chat
        self.clock = clock
        self.say = say
        self._seen: dict[str, int] = {}
        self._posted: dict[str, Open] = {}
        self._here: set[str] = set()
        self._later: set[asyncio.Task[None]] = set()

    # Questions go out ---------------------------------------------------------------------------

    async def post_new(self) -> None:
        """Post what is asked and was not posted yet, and say what was decided elsewhere."""
        if self._sowing is not None:
            await self._sowing()
        waiting = {one.wait.digest: one for one in await open_questions(self.store)}
        for digest, found in list(self._posted.items()):
            if digest not in waiting:
                del self._posted[digest]
                if digest not in self._here:
                    await self._post(self.chat.url, slack.gone(found))
                self._here.discard(digest)
        for digest, found in waiting.items():
            if digest not in self._posted:
                with contextlib.suppress(Conflict):  # it was decided meanwhile
                    asked = slack.message(found, await question_of(self.store, found))
                    await self._post(self.chat.url, asked)
                    self._posted[digest] = found

    async def _post(self, url: str, document: dict[str, Any]) -> None:
        await asyncio.to_thread(post, url, msgspec.json.encode(document))

    # Clicks come in -----------------------------------------------------------------------------

    async def take(self, request: Request) -> JSONResponse:
        """One callback."""
        click: slack.Click | None = None
        try:
            body = await _body(request)
            self._check(request, body)
            click = slack.read(body)
            text = await self._answer(click)
        except HoldfastError as error:
            why = str(error)
            self.say(f"a click did not count: {why}")
            if click is not None:  # it was signed, so it may be told and recorded
                await self._record(click, why)
                self._reply(click, slack.told(why))
            return JSONResponse({"error": why}, status_code=_status(error))
        self.say(text)
        return JSONResponse({"ok": text})

    def _check(self, request: Request, body: bytes) -> None:
        """Whether it is signed, now, and came only once."""
        now, headers = self.clock.now_ms(), request.headers
        signed = headers.get("x-slack-signature", "")
        stamp = headers.get("x-slack-request-timestamp", "")
        slack.verify(self.chat.secret, stamp, body, signed, now)
        kept = {one: until for one, until in self._seen.items() if until > now}
        if signed in kept:
            raise Conflict("this callback was delivered before")
        # a signature is good from CALLBACK_SECONDS before its timestamp to as many after it
        self._seen = {**kept, signed: now + 2 * limits.CALLBACK_SECONDS * 1000}

    async def _answer(self, click: slack.Click) -> str:
        by = self.chat.people.get(click.who)
        if by is None:
            raise Refused(f"{click.who} is not among the people who may answer", rule="people")
        now = self.clock.now_ms()
        found = await self._found(click)
        if found is None or found.wait.digest != click.digest or not click.digest:
            raise Misuse(f"{click.run}@{click.step} does not ask this any more")
        value = _chosen(click, found)
        try:
            await answer(
                self.store, click.run, click.step, click.decision, by=by, now_ms=now, value=value,
                note="in the chat", digest=click.digest, record=False,
            )  # fmt: skip
        except Seeded as error:
            self._here.add(click.digest)
            self._reply(click, slack.answered(found, f"{by}: {error}"))
            return str(error)
        said = {"approve": "approved", "deny": "denied"}.get(click.decision, f"answered {value}")
        text = f"{said} by {by}"
        lacks = missing(found.wait.panels, (*found.wait.approved, by))
        if click.decision == "approve" and lacks:
            fresh = next((one for one in await open_questions(self.store)
                          if one.wait.digest == click.digest), found)  # fmt: skip
            message = slack.message(fresh, await question_of(self.store, fresh))
            self._reply(click, {**message, "replace_original": True})
        else:
            self._here.add(click.digest)
            self._reply(click, slack.answered(found, text))
        return f"{found.place}: {text}"

    async def _found(self, click: slack.Click) -> Open | None:
        for one in await planted(self.store):
            if (one.seed.run, one.wait.key) == (click.run, click.step):
                return Open(one.row, one.wait, one)
        row = await self.store.run(click.run)
        return next((Open(row, one) for one in row.waits if one.key == click.step), None)

    async def _record(self, click: slack.Click, why: str) -> None:
        """Keep in the run's journal that somebody of the chat tried, and why it did not count."""
        with contextlib.suppress(HoldfastError):
            row = await self.store.run(click.run)
            about = next((one.pos for one in row.waits if one.key == click.step), 0)
            blobs: Blobs = {}
            what = {"why": why, "who": click.who, "step": click.step, "decision": click.decision}
            finding = FindingAdded(about, REFUSED, by="chat")
            draft = Draft(finding, self.clock.now_ms(), value=pack(what, blobs))
            await self.store.append((Batch(click.run, (draft,)),), blobs)

    def _reply(self, click: slack.Click, document: dict[str, Any]) -> None:
        """Change the message that was clicked, beside answering: chats wait three seconds."""
        there, here = urlsplit(click.reply), urlsplit(self.chat.url)
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            return  # a signed callback may still not send us anywhere else

        async def reply() -> None:
            try:
                await self._post(click.reply, document)
            except HoldfastError as error:
                self.say(str(error))

        task = asyncio.get_running_loop().create_task(reply())
        self._later.add(task)
        task.add_done_callback(self._later.discard)


def _chosen(click: slack.Click, found: Open) -> str | None:
    if click.decision != "answer":
        return None
    choices = found.wait.choices
    if not click.choice.isdecimal() or int(click.choice) >= len(choices):
        raise Misuse(f"{found.place} offers no choice {click.choice!r}")
    return choices[int(click.choice)]


def _status(error: HoldfastError) -> int:
    """The HTTP status that says the same as an error."""
    if isinstance(error, Refused):
        return 401 if error.rule in ("signature", "late") else 403
    kinds = ((TooLarge, 413), (NotFound, 404), (Expired, 410), (Conflict, 409), (Misuse, 400))
    return next((status for kind, status in kinds if isinstance(error, kind)), 503)


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limits.CALLBACK_BYTES:
                raise TooLarge(f"a callback has at most {limits.CALLBACK_BYTES:,} bytes")
    except ClientDisconnect:
        raise Outside("the callback was cut off") from None
    return body


def post(url: str, body: bytes) -> None:
    """Post JSON; `Outside` if it is not taken. Follows no redirects, and shows only the host."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    place = parts.hostname or ""
    link = kind(place, parts.port, timeout=limits.CHAT_SECONDS)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        link.request("POST", target or "/", body, {"Content-Type": "application/json"})
        status = link.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Outside(f"chat {place}: {type(error).__name__}", retryable=True) from None
    finally:
        link.close()
    if not 200 <= status < 300:
        raise Outside(f"chat {place}: it answered {status}", retryable=True)


async def serve(desk: Desk, host: str, port: int, stop: asyncio.Event) -> None:
    """Post and take answers until ``stop``. ``port`` 0: any free one. `Outside` if it cannot listen
    there."""
    app = Starlette(routes=[Route("/slack", desk.take, methods=["POST"])])
    async with served(app, host, port, leave=1.0) as url:
        desk.say(f"callbacks: {url}/slack")
        posting = asyncio.create_task(_keep_posting(desk))
        try:
            await stop.wait()
        finally:
            posting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await posting


async def _keep_posting(desk: Desk) -> None:
    rung = asyncio.Event()
    desk.store.listen(rung.set)
    pause = limits.CHAT_LOOK_SECONDS
    while True:
        rung.clear()
        try:
            await desk.post_new()
            pause = limits.CHAT_LOOK_SECONDS
        except HoldfastError as error:
            desk.say(str(error))
            pause = min(pause * 2, 60.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), pause)
