"""``holdfast proxy``: the command in front of a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.proxy.hosts import host_of, serves
from holdfast.testing.standin import StandIn
from tests.cli.support import documents, invoke

KEY = "sk-provider-secret"
POLICY = """
version: 1
rules:
  - {id: rest, when: {agent: "*"}, then: allow}
  - {id: small, when: {kind: model}, if: 'args.model == "huge"', then: deny, reason: too big}
"""


@pytest.fixture
def server(place: Path) -> Generator[StandIn]:
    (place / "policy.yaml").write_text(POLICY)
    with StandIn(lambda asked: f"answer {asked.number}", key=KEY) as standin:
        yield standin


@contextmanager
def proxy(*arguments: str) -> Generator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """The command as a process, until its standard input ends, and what it says first."""
    command = [sys.executable, "-m", "holdfast.cli", "proxy", "--json", "--until-stdin-ends",
               "--policy", "policy.yaml", *arguments]  # fmt: skip
    env = {**os.environ, "MY_KEY": KEY}
    env.pop("OPENAI_API_KEY", None)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=env) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


def ask(told: dict[str, Any], model: str = "gpt-4o", text: str = "hi") -> str:
    env = told["environment"]
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    asked = urllib.request.Request(
        env["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {env['OPENAI_API_KEY']}"},
    )
    try:
        with urllib.request.urlopen(asked) as reply:
            return json.load(reply)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        return f"{error.code} {json.load(error)['error']['message']}"


def test_calls_pass_are_judged_recorded_and_played_back(server: StandIn):
    keyed = ("--upstream", f"openai={server.url}", "--key-env", "openai=MY_KEY")
    with proxy(*keyed, "--name", "night") as (process, told):
        assert told["run"] == "night"
        assert ask(told) == "answer 1"
        assert ask(told, model="huge").startswith("403 openai.huge: refused by small: too big")
        process.kill()  # whoever comes again under that name goes on with it
    with proxy(*keyed, "--name", "night") as (process, told):
        assert ask(told, text="again") == "answer 2"
    assert process.returncode == 0
    with proxy(*keyed, "--replay", "night") as (_, told):
        assert ask(told, text="again") == "answer 2"
        assert ask(told) == "answer 1"
        assert ask(told, text="new").startswith("409 nothing recorded")
    assert len(server.requests) == 2
    (row,) = [one for one in documents(invoke("ps", "--json").stdout) if one["run"] == "night"]
    assert row["status"] != "done"
    everything = invoke("log", "--json").stdout + invoke("show", "night", "--json").stdout
    assert KEY not in everything
    assert told["token"] not in everything
    invoke("fsck")


def test_a_client_whose_own_key_is_passed_on_has_the_token_in_its_address(
    server: StandIn, place: Path
):
    config = {"upstreams": {"anthropic": {"url": server.url, "pass_keys": True}}}
    (place / "wire.json").write_text(json.dumps(config))
    with proxy("--config", "wire.json") as (_, told):
        env = told["environment"]
        assert list(env) == ["ANTHROPIC_BASE_URL"]
        asked = urllib.request.Request(
            env["ANTHROPIC_BASE_URL"] + "/v1/messages",
            b'{"model": "m", "max_tokens": 1, "messages": []}',
            {"x-api-key": KEY},
        )
        with urllib.request.urlopen(asked) as reply:
            assert json.load(reply)["content"][0]["text"] == "answer 1"


def test_a_known_providers_key_does_not_go_to_another_address(server: StandIn, monkeypatch):
    """D44"""
    from holdfast.proxy.wiring import Entry, keyless, providers_of

    env = {"OPENAI_API_KEY": KEY}
    assert [one.key for one in providers_of({"openai": Entry()}, env)] == [KEY]
    there = {"openai": Entry(url=server.url)}
    found = providers_of(there, env)
    assert [one.key for one in found] == [""]
    assert "--key-env openai=OPENAI_API_KEY" in keyless(found, env)[0]
    assert "--key-env" not in keyless(found, {})[0]
    there = {"openai": Entry(url=server.url, key_env="OPENAI_API_KEY")}
    assert [one.key for one in providers_of(there, env)] == [KEY]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no upstream"),
        (("--upstream", "mine"), "upstream 'mine' needs an address"),
        (("--upstream", "mine=ftp://x"), "must be an http or https address"),
        (("--upstream", "mine=https://user:word@x"), "no query, fragment, user or password"),
        (("--upstream", "a.b=https://x"), "use letters, digits"),
        (("--upstream", "mine=https://x", "--key-env", "other=K"), "say NAME=VARIABLE"),
        (("--upstream", "mine=https://x", "--key-env", "mine=NOT_SET_X"), "NOT_SET_X is not set"),
        (("--upstream", "openai", "--listen", "here"), "say HOST:PORT"),
        (("--upstream", "openai", "--record"), "--record goes with --replay"),
        (("--upstream", "openai", "--replay", "nowhere"), "nowhere"),
        (("--config", "no.json"), "there is no file no.json"),
        (("--config", "bad.json"), "bad.json"),
    ],
)
def test_what_cannot_be_is_said(place: Path, arguments: tuple[str, ...], says: str):
    (place / "bad.json").write_text('{"upstream": {}}')
    assert says in invoke("proxy", *arguments, code=2).stderr


def test_a_page_whose_name_was_led_here_gets_nothing(server: StandIn):
    """INVARIANT D190: also with a token that is known."""
    with proxy("--upstream", f"openai={server.url}", "--key-env", "openai=MY_KEY") as (_, told):

        def post(host: str) -> bytes:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": host}]}
            asked = urllib.request.Request(
                told["environment"]["OPENAI_BASE_URL"] + "/chat/completions",
                json.dumps(body).encode(),
                {"authorization": f"Bearer {told['token']}", "host": host},
            )
            with urllib.request.urlopen(asked) as reply:
                return reply.read()

        with pytest.raises(urllib.error.HTTPError, match="403") as error:
            post("evil.example:80")
        assert b"not served here" in error.value.read()
        assert b"answer 1" in post("localhost")
        assert b"answer 2" in post("[::1]:9")


def test_where_all_addresses_are_listened_at_any_number_is_one_of_them():
    """INVARIANT D190: a name could be anybody's, a number leads where it says."""
    assert serves("//192.0.2.7:80", {"0.0.0.0"})
    assert serves("//[2001:db8::1]", {"::"})
    assert serves("http://box.example", {"box.example"})
    assert not serves("//192.0.2.7", {"192.0.2.8"})
    assert not serves("//evil.example", {"0.0.0.0"})
    assert not any(serves(one, {""}) for one in ("", "//", "//[", "//:80"))
    assert host_of([(b"Host", b"localhost"), (b"host", b"evil.example")]) == ""
