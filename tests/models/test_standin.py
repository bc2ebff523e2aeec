"""The stand-in: what it says in each dialect, whole and streamed, and how it fails."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request

import aiohttp
import pytest

from holdfast.models import sse
from holdfast.models.dialects import DIALECTS
from holdfast.testing.standin import Request, StandIn

ASKED: dict[str, tuple[str, dict]] = {
    "openai.chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "openai.responses": ("/v1/responses", {"input": "hi"}),
    "anthropic.messages": (
        "/v1/messages",
        {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
    ),
    "gemini": (
        "/v1beta/models/m:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    ),
}
ANSWER: dict = {
    "text": "Let me look that up, Müller.",
    "thinking": "The word is tea.",
    "calls": [
        {"name": "look_up", "arguments": {"word": "tea", "n": 12}},
        {"name": "look_up", "arguments": {}},
    ],
    "usage": {"input": 11, "output": 22, "cache_read": 5, "reasoning": 3},
}
every = pytest.mark.parametrize("name", DIALECTS)


def asking(name: str, *, stream: bool = False) -> tuple[str, dict]:
    path, body = ASKED[name]
    body = {**body, "model": "m"}
    if name == "gemini":
        return (path.replace(":g", ":streamG") + "?alt=sse" if stream else path), body
    if name == "openai.chat" and stream:
        body["stream_options"] = {"include_usage": True}
    return path, {**body, "stream": True} if stream else body


@every
async def test_a_stream_gathers_to_the_whole_message(name: str):
    dialect = DIALECTS[name]
    async with StandIn([ANSWER, ANSWER]) as server, aiohttp.ClientSession(server.url) as client:
        path, body = asking(name)
        async with client.post(path, json=body) as reply:
            whole = await reply.json()
        path, body = asking(name, stream=True)
        async with client.post(path, json=body) as reply:
            assert reply.content_type == "text/event-stream"
            streamed = await reply.read()
    gather, lines = dialect.gather(), sse.Lines()
    for event in lines.feed(streamed):
        gather.take(event)
    assert gather.done
    answered, again = dialect.answer(whole), dialect.answer(gather.message or {})
    assert answered.text == again.text == ANSWER["text"]
    assert [one.name for one in again.calls] == ["look_up", "look_up"]
    wanted = {"word": "tea", "n": 12}
    found = again.calls[0].arguments
    assert (json.loads(found) if isinstance(found, str) else found) == wanted
    assert answered.usage == again.usage
    assert again.usage is not None
    assert again.usage.total == 11 + 22 + 5
    assert [one.model for one in server.requests] == ["m", "m"]
    assert [one.dialect for one in server.requests] == [name, name]


@every
async def test_errors_are_in_the_dialects_form(name: str):
    script = [{"error": 429, "message": "slow down", "retry_after": 1.5}]
    path, body = asking(name)
    async with StandIn(script) as server, aiohttp.ClientSession(server.url) as client:
        async with client.post(path, json=body) as reply:
            assert reply.status == 429
            assert reply.headers["retry-after"] == "1.5"
            assert DIALECTS[name].answer(await reply.json()).error == "slow down"
        async with client.post(path, json=body) as reply:  # the script has ended
            assert reply.status == 400
            assert "no answer left" in DIALECTS[name].answer(await reply.json()).error


async def test_keys_lists_and_counting():
    async with StandIn(key="k", models=("a", "b")) as server:
        async with aiohttp.ClientSession(server.url) as client:
            path, body = asking("openai.chat")
            assert (await client.post(path, json=body)).status == 401
        for head in ({"authorization": "Bearer k"}, {"x-api-key": "k", "anthropic-version": "1"}):
            async with aiohttp.ClientSession(server.url, headers=head) as client:
                listed = await (await client.get("/v1/models")).json()
                assert [one["id"] for one in listed["data"]] == ["a", "b"]
        async with aiohttp.ClientSession(server.url, headers={"x-api-key": "k"}) as client:
            body = {"model": "m", "messages": []}
            counted = await client.post("/v1/messages/count_tokens", json=body)
            assert (await counted.json())["input_tokens"] > 0
            assert (await client.post("/v1/other", json=body)).status == 404


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_breaks(then: str, stream: bool):
    script = [{"text": "a long text, which does not arrive", "then": then, "after": 3}]
    path, body = asking("anthropic.messages", stream=stream)
    async with StandIn(script) as server, aiohttp.ClientSession(server.url) as client:
        reply = await client.post(path, json=body)
        assert reply.status == 200
        with pytest.raises(aiohttp.ClientError):
            await reply.read()


async def test_an_answer_hangs_until_it_may_go_on():
    hanging = {"text": "0123456789", "size": 1, "then": "hang", "after": 3}
    path, body = asking("openai.chat", stream=True)
    async with StandIn([hanging, hanging]) as server, aiohttp.ClientSession(server.url) as client:
        reply = await client.post(path, json=body)
        lines = sse.Lines()
        events = [*lines.feed(await reply.content.readuntil(b"\n\n"))]
        while len(events) < 3:
            events += lines.feed(await reply.content.readuntil(b"\n\n"))
        reply.close()
        while not server.left:  # noqa: ASYNC110  # it counts, it does not ring
            await asyncio.sleep(0.001)
        reply = await client.post(path, json=body)
        server.go()
        assert b"[DONE]" in await reply.read()


async def test_a_script_is_a_function_or_fits_by_text():
    async def script(request: Request):
        await asyncio.sleep(0)
        return {"text": f"{request.number} {json.loads(request.last)['content']}"}

    path, body = asking("openai.chat")
    async with StandIn(script) as server, aiohttp.ClientSession(server.url) as client:
        found = await (await client.post(path, json=body)).json()
        assert found["choices"][0]["message"]["content"] == "1 hi"
    answers = ["first", {"text": "by the way", "when": "hi", "again": True}]
    async with StandIn(answers) as server, aiohttp.ClientSession(server.url) as client:
        said = []
        for _ in range(3):
            found = await (await client.post(path, json=body)).json()
            said.append(found["choices"][0]["message"]["content"])
    assert said == ["first", "by the way", "by the way"]
    wrong = StandIn(lambda _: {"txt": 1})
    async with wrong as server, aiohttp.ClientSession(server.url) as client:
        reply = await client.post(path, json=body)
        assert reply.status == 400
        assert "txt" in (await reply.json())["error"]["message"]


def post(url: str, path: str, body: dict) -> dict:
    asked = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "json"})
    with urllib.request.urlopen(asked) as reply:
        return json.load(reply)


def test_in_a_thread_and_as_a_process(tmp_path):
    path, body = asking("anthropic.messages")
    with StandIn(["from a thread"]) as server:
        assert post(server.url, path, body)["content"][0]["text"] == "from a thread"
    script = tmp_path / "script.json"
    script.write_text(json.dumps(["from a process"]))
    command = [sys.executable, "-m", "holdfast.testing.standin", "--script", script, "--with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        url = process.stdout.readline().decode().strip()
        assert post(url, path, body)["content"][0]["text"] == "from a process"
        process.stdin.close()
    assert process.returncode == 0
