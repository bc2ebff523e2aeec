"""`holdfast serve`, as a process and as a command line."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from holdfast.api.access import digest
from tests.cli.support import invoke, start


class Served:
    """The server as a process, on any free port."""

    def __init__(self, place: Path, *args: str) -> None:
        self.process = start("serve", "--port", "0", "--json", *args, cwd=place)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.said: dict[str, str] = json.loads(line)
        self.port = urlsplit(self.said["url"]).port

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None:
                sent["content-type"] = "application/json"
            link.request(method, path, None if body is None else json.dumps(body), sent)
            reply = link.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            link.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


def refusal(*args: str) -> str:
    """What `serve` says when it refuses to begin."""
    return invoke("serve", *args, code=2).stderr


def test_a_person_signs_in_by_the_printed_address_and_runs_go_on(place: Path):
    invoke("run", "agents.py:colour", "--name", "c", "--no-input", code=10)
    served = Served(place)
    try:
        target = served.said["signin"].removeprefix(served.said["url"])
        status, headers, _ = served.ask("GET", target)
        assert status == 303
        cookie = headers["set-cookie"].partition(";")[0]
        assert served.ask("GET", "/api/v1/runs", Cookie=cookie)[0] == 200
        assert served.ask("GET", target)[0] == 401
        bearer = f"Bearer {served.said['token']}"
        answer = {"decision": "answer", "value": "red"}
        status, _, body = served.ask("POST", "/api/v1/runs/c/answer", answer, Authorization=bearer)
        assert status == 200, body
        assert json.loads(body)["by"] == "ann"
        found: dict[str, Any] = {"run": {"status": ""}}
        while found["run"]["status"] != "done":
            found = json.loads(served.ask("GET", "/api/v1/runs/c", Authorization=bearer)[2])
        assert found["result"] == "red"
    finally:
        assert served.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_though_a_stream_is_open(place: Path, number: int):
    served = Served(place, "--no-run")
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    link.request("GET", "/api/v1/live", headers={"Authorization": f"Bearer {served.said['token']}"})
    reply = link.getresponse()
    assert reply.readline() == b"retry: 1000\n"
    assert served.stop(number) == 0
    assert reply.read() == b"\n"  # whole: the stream was ended, not cut
    link.close()


def test_a_store_that_is_named_must_be_there(place: Path, monkeypatch: pytest.MonkeyPatch):
    by_option = invoke("serve", "--port", "0", "--store", "nowhere", code=2)
    assert "there is no store here" in by_option.stderr
    monkeypatch.setenv("HOLDFAST_STORE", "nowhere")
    assert "there is no store here" in refusal("--port", "0")
    assert not (place / "nowhere").exists()


def test_others_reach_it_only_with_tokens_or_a_provider_and_tls(place: Path):
    """X120."""
    (place / "tokens").write_text(f"ann admin {digest('x')}\n", encoding="utf-8")
    (place / "tokens").chmod(0o600)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        alone = refusal("--host", host)
        assert "--tokens" in alone
        for url in ((), ("--url", "http://holdfast.example.org")):
            clear = refusal("--host", host, "--tokens", "tokens", *url)
            assert "https" in clear


def test_tokens_of_a_file_let_in_with_their_roles_and_nobody_else(place: Path):
    made = invoke("serve", "--new-token", "eve:viewer", "--json")
    found = json.loads(made.stdout)
    assert digest(found["token"]) in found["line"]
    assert found["token"] not in found["line"]
    (place / "tokens").write_text(f"# who may come in\n\n{found['line']}\n", encoding="utf-8")
    refused = refusal("--tokens", "tokens")
    assert "chmod 600" in refused
    (place / "tokens").chmod(0o600)
    (place / "scraper").write_text("the-token-of-metrics\n", encoding="utf-8")
    (place / "scraper").chmod(0o600)
    served = Served(place, "--tokens", "tokens", "--metrics-token", "scraper")
    try:
        assert served.said["signin"] == served.said["token"] == ""
        eve = f"Bearer {found['token']}"
        assert served.ask("GET", "/api/v1/runs", Authorization=eve)[0] == 200
        assert served.ask("POST", "/api/v1/runs/x/cancel", Authorization=eve)[0] == 403
        scraper = "Bearer the-token-of-metrics"
        assert served.ask("GET", "/metrics", Authorization=scraper)[0] == 200
        assert served.ask("GET", "/api/v1/runs", Authorization=scraper)[0] == 401
    finally:
        assert served.stop() == 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "one line"), ("# nobody", "names nobody"), ("ann admin", ":1: say NAME ROLE"),
        ("ann boss " + "0" * 64, ":1: say NAME ROLE"), ("ann admin " + "x" * 64, ":1: say NAME"),
        (f"ann admin {'0' * 64}\neve viewer {'0' * 64}", ":2: this token is of two"),
    ],
)  # fmt: skip
def test_files_of_tokens_that_are_none_are_refused(place: Path, lines: str, said: str):
    (place / "tokens").write_text(lines, encoding="utf-8")
    (place / "tokens").chmod(0o600)
    refused = refusal("--tokens", "tokens")
    assert said in refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("issuer: https://idp.example.org\n", "client_id"),
        ("issuer: http://idp.example.org\nclient_id: x\nroles: {a: admin}\n", "https"),
        ("issuer: https://idp.example.org\nclient_id: x\nroles: {a: boss}\n", "boss"),
        ("issuer: https://idp.example.org\nclient_id: x\nroles: {a: admin}\nmore: 1\n", "more"),
        (": :", "--oidc"),
    ],
)
def test_files_about_a_provider_that_are_wrong_are_refused(place: Path, text: str, said: str):
    (place / "oidc.yaml").write_text(text, encoding="utf-8")
    refused = refusal("--oidc", "oidc.yaml", "--url", "https://holdfast.example.org")
    assert said in refused
    without = refusal("--oidc", "oidc.yaml")
    assert "--url" in without


@pytest.mark.parametrize("wanted", ["ann", "ann:boss", ":admin", "a b:admin"])
def test_tokens_are_made_for_names_and_roles_only(place: Path, wanted: str):
    assert "name" in refusal("--new-token", wanted).lower()
