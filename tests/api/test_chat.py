"""A chat as a view of the queue, against a real HTTP server in its place."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from holdfast.api import slack
from holdfast.values.errors import Misuse, Refused
from tests.cli.support import documents, invoke, newest, start
from tests.cli.test_inbox import POLICY, events

SECRET = b"8f742231b10e8888abcd99yyyzzz85a5"


class ChatSide:
    """What stands where the chat would: it keeps what is posted, by path."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.news = threading.Condition()
        chat = self

        class Takes(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with chat.news:
                    chat.posted.append((self.path, json.loads(body)))
                    chat.news.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def next(self, path: str) -> Any:
        """The next message posted to a path, waiting for it."""
        with self.news:
            assert self.news.wait_for(lambda: self._first(path) is not None, 30), self.posted
            found = self._first(path)
            assert found is not None
            self.posted.remove(found)
            return found[1]

    def _first(self, path: str) -> Any:
        return next((one for one in self.posted if one[0] == path), None)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Door:
    """The server under test, as a process."""

    def __init__(self, chat: ChatSide, cwd: Path) -> None:
        (cwd / "signing").write_bytes(SECRET + b"\n")
        (cwd / "signing").chmod(0o600)
        (cwd / "webhook").write_text(chat.url + "/hook?token=very-secret", encoding="utf-8")
        (cwd / "webhook").chmod(0o600)
        (cwd / "people.yaml").write_text("U1: ann\nU2: eve\n", encoding="utf-8")
        self.chat = chat
        self.process: subprocess.Popen[str] = start(
            "inbox", "serve", "--chat", "@webhook", "--secret-file", "signing", "--people",
            "people.yaml", "--listen", "127.0.0.1:0", cwd=cwd,
        )  # fmt: skip
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("callbacks: http://127.0.0.1:"), line
        self.port = int(line.rpartition(":")[2].partition("/")[0])

    def send(self, body: bytes, stamp: str, signed: str) -> tuple[int, Any]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signed}
        link.request("POST", "/slack", body, headers)
        answer = link.getresponse()
        status, text = answer.status, answer.read()
        link.close()
        return status, json.loads(text)

    def click(self, button: Any, who: str = "U1", *, age: int = 0, secret: bytes = SECRET) -> Any:
        body, stamp = self.body(button, who), str(int(time.time()) - age)
        return self.send(body, stamp, slack.signature(secret, stamp, body))

    def body(self, button: Any, who: str) -> bytes:
        payload = {
            "type": "block_actions", "user": {"id": who}, "actions": [button],
            "response_url": self.chat.url + "/reply",
        }  # fmt: skip
        return urlencode({"payload": json.dumps(payload)}).encode()

    def close(self) -> str:
        """Stop it; what it said."""
        self.process.send_signal(signal.SIGTERM)
        out, said = self.process.communicate(timeout=30)
        return out + said


@pytest.fixture
def chat() -> Iterator[ChatSide]:
    side = ChatSide()
    yield side
    side.close()


@pytest.fixture
def door(place: Path, chat: ChatSide) -> Iterator[Door]:
    (place / "policy.yaml").write_text(POLICY, encoding="utf-8")
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", code=10)
    opened = Door(chat, place)
    yield opened
    if opened.process.poll() is None:
        opened.close()


def buttons(message: Any) -> dict[str, Any]:
    (actions,) = [one for one in message["blocks"] if one["type"] == "actions"]
    return {one["action_id"]: one for one in actions["elements"]}


def test_a_click_of_a_listed_approver_counts(door: Door, chat: ChatSide):
    run = newest()
    message = chat.next("/hook?token=very-secret")
    assert "pay(amount=3" in message["blocks"][0]["text"]["text"]
    assert message["blocks"][0]["text"]["type"] == "plain_text"
    assert "rules money" in json.dumps(message)
    assert door.click(buttons(message)["approve"])[0] == 200
    (given,) = events(run, "approval.given")
    assert (given["body"]["by"], given["body"]["decision"]) == ("ann", "approve")
    update = chat.next("/reply")
    assert update["replace_original"] is True
    assert "approved by ann" in json.dumps(update)
    assert all(block["type"] != "actions" for block in update["blocks"])
    assert door.click(buttons(message)["approve"])[0] in (400, 409)  # 409: in the same second
    assert len(events(run, "approval.given")) == 1
    said = door.close()
    assert "very-secret" not in said
    assert SECRET.decode() not in said


def test_what_does_not_count(door: Door, chat: ChatSide):
    """Wrong signature, late, replayed, unlisted, not allowed, another action, no click at all: a
    clear error, nothing answered, what was signed is recorded."""
    run = newest()
    ok = buttons(chat.next("/hook?token=very-secret"))["approve"]
    assert door.click(ok, secret=b"guessed") == (401, {"error": "the signature is wrong"})
    assert door.click(ok, age=400)[0] == 401
    assert door.click(ok, age=-400)[0] == 401
    assert events(run, "finding.added") == []  # nobody we know: the journal is not theirs to fill
    assert door.click(ok, "U3") == (403, {"error": "U3 is not among the people who may answer"})
    status, told = door.click(ok, "U2")
    assert (status, "eve may not answer this; ann, bea may" in told["error"]) == (403, True)
    assert "eve may not" in json.dumps(chat.next("/reply")) + json.dumps(chat.next("/reply"))
    other = {**ok, "value": json.dumps({**json.loads(ok["value"]), "digest": "0" * 64})}
    assert "does not ask this any more" in door.click(other)[1]["error"]
    gone = {**ok, "value": json.dumps({**json.loads(ok["value"]), "run": "nowhere"})}
    assert door.click(gone)[0] == 404
    for odd in ({"action_id": "x"}, {**ok, "value": "[]"}, {**ok, "action_id": "publish"}):
        assert door.click(odd)[0] == 400
    stamp = str(int(time.time()))
    for body in (b"", b"payload=%7B", b"\xff", b"payload=" + b"x" * 70_000):
        assert door.send(body, stamp, slack.signature(SECRET, stamp, body))[0] in (400, 413)
    assert events(run, "approval.given") == []
    findings = events(run, "finding.added")
    assert [one["value"]["who"] for one in findings] == ["U3", "U2", "U1"]
    assert {one["body"]["type"] for one in findings} == {"answer.refused"}
    body = door.body(buttons({"blocks": [{"type": "actions", "elements": [ok]}]})["approve"], "U1")
    signed = slack.signature(SECRET, stamp, body)
    assert door.send(body, stamp, signed)[0] == 200
    assert door.send(body, stamp, signed) == (
        409, {"error": "this callback was delivered before"},
    )  # fmt: skip
    assert len(events(run, "approval.given")) == 1
    assert "a click did not count: the signature is wrong" in door.close()


def test_what_is_decided_elsewhere_is_said(door: Door, chat: ChatSide):
    chat.next("/hook?token=very-secret")
    invoke("deny", newest())
    assert "decided elsewhere" in json.dumps(chat.next("/hook?token=very-secret"))


def test_choices_are_buttons(door: Door, chat: ChatSide):
    chat.next("/hook?token=very-secret")
    invoke("run", "agents.py:colour", "--no-input", code=10)
    run = newest()
    shown = buttons(chat.next("/hook?token=very-secret"))
    assert list(shown) == ["answer:0", "answer:1", "deny"]
    assert door.click({**shown["answer:1"], "action_id": "answer:7"})[0] == 400
    assert door.click(shown["answer:1"])[0] == 200
    (given,) = events(run, "approval.given")
    assert given["value"] == "green"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: Path("signing").chmod(0o644), "others may read signing: chmod 600 signing"),
        (lambda: Path("signing").write_text(""), "signing must hold one line"),
        (lambda: Path("people.yaml").write_text("[1]"), "must map ids of the chat to names"),
        (lambda: Path("people.yaml").write_text("{a: [}"), "is not YAML"),
        (lambda: Path("people.yaml").unlink(), "there is no file people.yaml"),
        (lambda: Path("webhook").write_text("ftp://x"), "say an http or https address"),
    ],
)
def test_what_it_needs(place: Path, change: Any, told: str):
    for name, text in (("signing", "s"), ("webhook", "http://localhost/x"),
                       ("people.yaml", "U1: ann")):  # fmt: skip
        (place / name).write_text(text, encoding="utf-8")
        (place / name).chmod(0o600)
    change()
    args = ["inbox", "serve", "--chat", "@webhook", "--secret-file", "signing", "--people",
            "people.yaml", "--listen", "127.0.0.1:0"]  # fmt: skip
    assert told in invoke(*args, code=2).stderr
    assert documents(invoke("ps", "--json", code=None).stdout) == []


def test_the_signature_is_that_of_the_protocol():
    """The worked example of Slack's own documentation of signing."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
        b"%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    secret, stamp = b"8f742231b10e8888abcd99yyyzzz85a5", "1531420618"
    good = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert slack.signature(secret, stamp, body) == good
    slack.verify(secret, stamp, body, good, 1531420618000 + 300_000)
    with pytest.raises(Refused, match="too late"):
        slack.verify(secret, stamp, body, good, 1531420618000 + 301_000)
    with pytest.raises(Refused, match="too late"):
        slack.verify(secret, stamp, body, good, 1531420618000 - 301_000)
    for wrong in ("", "v0=", good[:-1] + "4", good.upper(), "v1" + good[2:], "\u00e9"):
        with pytest.raises(Refused, match="signature is wrong"):
            slack.verify(secret, stamp, body, wrong, 1531420618000)


def test_the_time_is_signed_too():
    for stamp in ("", "now", "-5", "9" * 40):
        with pytest.raises(Refused, match="no time"):
            slack.verify(SECRET, stamp, b"x", slack.signature(SECRET, stamp, b"x"), 0)


def test_only_clicks_are_read():
    for body in (b"", b"a=b", b"payload=1", b"payload=%7B%7D", b"\xff\xfe"):
        with pytest.raises(Misuse, match="no click on a question of ours"):
            slack.read(body)
