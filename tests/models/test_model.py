"""Models for agents: over the wire, in each dialect; each request is one step."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pydantic
import pytest

import holdfast
from holdfast import Misuse, Outside, Runtime, ToolError
from holdfast.models.dialects import DIALECTS
from holdfast.models.menu import Wanted, menu
from holdfast.models.model import Unfit, model
from holdfast.testing.standin import StandIn

KEY = "sk-holdfast-very-secret-0123456789"
WRITTEN = ("openai.chat", "openai.responses", "anthropic.messages")
every = pytest.mark.parametrize("dialect", WRITTEN)


class Person(pydantic.BaseModel):
    name: str
    age: int


@holdfast.tool(effect="read")
async def look_up(word: str, n: int = 1) -> str:
    """Looks a word up."""
    return f"{word} {n}"


def asking(server: StandIn, dialect: str, **more: Any) -> Any:
    base = server.url + ("" if dialect.startswith("anthropic") else "/v1")
    return model("some:m-1", base_url=base, dialect=dialect, key=KEY, **more)


async def steps(runtime: Runtime, run: str) -> list[tuple[Any, Any]]:
    """Arguments and value of each model step that a run recorded."""
    from holdfast.engine.history import History
    from holdfast.values.canon import unpack

    history = History()
    history.extend(await runtime.store.read(run))
    found = [one for one in history.steps.values() if one.plan and one.plan.kind == "model"]
    get = runtime.store.get
    return [(unpack(one.args or b"", get), one.value and unpack(one.value, get)) for one in found]


async def waiting(run: Any) -> None:
    """Wait until it waits for a person."""
    while await run.status() != "waiting":  # noqa: ASYNC110 - a row in a store
        await asyncio.sleep(0.01)


# ---- each dialect ----------------------------------------------------------------------------


@every
async def test_a_conversation_with_tools_and_a_structured_answer(dialect: str):
    script: list[Any] = [
        {
            "text": "Let me see.",
            "thinking": "tea, I think",
            "calls": [{"name": "look_up", "arguments": {"word": "tea"}, "id": "c1"}],
            "usage": {"input": 10, "output": 5, "cache_read": 3},
        },
        '{"name": "Ada", "age": 36}',
    ]
    async with StandIn(script, key=KEY) as server:
        ask = asking(server, dialect, max_tokens=500)
        first = await ask("Who?", system="Be brief.", tools=[look_up])
        assert (first.text, first.stop) == ("Let me see.", "calls")
        assert [(c.name, c.arguments, c.id) for c in first.calls] == [
            ("look_up", {"word": "tea"}, "c1")
        ]
        assert first.usage is not None
        used = [first.usage[kind] for kind in ("input", "output", "cache_read")]
        assert used == [10, 5, 3]
        result = {"role": "tool", "id": "c1", "name": "look_up", "content": "tea 1"}
        messages = [{"role": "user", "content": "Who?"}, first.message, result]
        second = await ask(messages, tools=[look_up], output=Person)
        assert second.output == Person(name="Ada", age=36)
        bodies = [json.loads(one.raw) for one in server.requests]
    asked = [DIALECTS[dialect].request(one) for one in bodies]
    assert asked[0].messages[0]["content"] == "Be brief."
    assert asked[0].max_output == 500
    assert "look_up" in json.dumps(asked[0].tools)
    assert '"word"' in json.dumps(asked[0].tools)
    assert "c1" in json.dumps(asked[1].messages)
    assert "tea 1" in json.dumps(asked[1].messages)
    assert '"age"' in json.dumps(asked[1].parameters)
    if dialect == "anthropic.messages":  # a signed thought goes back as it came
        assert "signed-1" in json.dumps(asked[1].messages)


@every
async def test_texts_come_as_they_are_streamed(dialect: str):
    async with StandIn([{"text": "one two three four", "size": 4}], key=KEY) as server:
        stream = asking(server, dialect)("count", stream=True)
        found = [text async for text in stream]
        reply = await stream
    assert found == ["one ", "two ", "thre", "e fo", "ur"]
    assert reply.text == "one two three four"
    assert reply.usage is not None
    assert reply.usage["output"] > 0


@every
async def test_an_answer_that_broke_off_is_none(dialect: str):
    cut = {"text": "one two three four", "size": 4, "after": 6, "then": "close"}
    heard: list[str] = []
    async with StandIn([cut, cut, {"text": "x", "raw": "no JSON"}], key=KEY) as server:
        ask = asking(server, dialect)
        with pytest.raises(Outside) as error:
            await ask("count", on_text=heard.append)
        assert heard
        assert not error.value.retryable  # somebody heard its beginning
        with pytest.raises(Outside) as error:
            await ask("count")
        assert error.value.retryable
        with pytest.raises(Outside, match="no JSON object"):
            await ask("count")


@pytest.mark.parametrize(
    ("dialect", "finish", "stop"),
    [
        ("openai.chat", "length", "length"),
        ("openai.chat", "content_filter", "filter"),
        ("openai.responses", "max_output_tokens", "length"),
        ("anthropic.messages", "max_tokens", "length"),
        ("anthropic.messages", "refusal", "refused"),
        ("anthropic.messages", "end_turn", "done"),
    ],
)
async def test_why_it_stopped(dialect: str, finish: str, stop: str):
    async with StandIn([{"text": "well", "finish": finish}], key=KEY) as server:
        assert (await asking(server, dialect)("go")).stop == stop


async def test_arguments_that_are_no_json_are_told():
    broken = {"calls": [{"name": "look_up", "arguments": '{"word": '}]}
    async with StandIn([broken], key=KEY) as server:
        (call,) = (await asking(server, "openai.chat")("go", tools=[look_up])).calls
    assert (call.arguments, call.broken) == ({}, '{"word": ')


async def test_an_answer_that_does_not_fit_is_an_error_that_has_it():
    async with StandIn(['{"name": "Ada"}', "[1, 2]", '{"value": [1, 2]}'], key=KEY) as server:
        ask = asking(server, "openai.chat")
        with pytest.raises(Unfit, match="age: Field required") as error:
            await ask("who?", output=Person)
        assert error.value.reply.text == '{"name": "Ada"}'
        with pytest.raises(Unfit, match="no field `value`"):
            await ask("which?", output=list[int])
        assert (await ask("which?", output=list[int])).output == [1, 2]


# ---- steps -----------------------------------------------------------------------------------


async def test_a_request_is_one_step_with_retries_and_no_key():
    """D65, D66: what is recorded has the request and the answer, and never the key."""
    script = [
        {"error": 429, "retry_after": 0.01, "message": f"slow down, {KEY}"},
        {"text": f"your key is {KEY}", "usage": {"input": 7, "output": 5}},
        {"error": 401, "message": f"bad key {KEY}"},
    ]
    async with StandIn(script, key=KEY) as server, Runtime(store="memory") as runtime:
        ask = asking(server, "openai.chat", retries=1)

        @holdfast.agent
        async def helper(question: str) -> str:
            text = (await ask(question)).text
            try:
                await ask("again")
            except ToolError as error:
                return f"{text}; {error}"
            return text

        run = await runtime.start(helper, "hello")
        result = await run.result()
        assert len(server.requests) == 3
        assert result == "your key is [key]; model some:m-1: status 401: bad key [key]"
        (args, value), (_, none) = await steps(runtime, run.id)
        assert none is None
        assert args == {
            "provider": "some",
            "model": "m-1",
            "dialect": "openai.chat",
            "request": {"model": "m-1", "messages": [{"role": "user", "content": "hello"}]},
        }
        assert value.keys() == {
            "status", "response", "usage", "usage_verbatim", "price", "first_ms", "finish",
        }  # fmt: skip
        assert (value["usage"]["input"], value["finish"]) == (7, "stop")
        events = await runtime.store.read(run.id)
        assert KEY not in repr(events) + repr(ask) + repr(ask.source)


@pytest.mark.parametrize("dialect", sorted(set(DIALECTS) - {"gemini"}))
@pytest.mark.parametrize("size", [1, 5, 100])
async def test_d65_no_piece_of_a_stream_holds_the_key(dialect: str, size: int):
    """INVARIANT D65: however the key is cut; and nothing else is held back."""
    heard: list[str] = []
    text = f"your key {KEY}{KEY[:4]} is {KEY[:-1]}, or {KEY} {KEY[:3]}"
    async with StandIn([{"text": text, "size": size}], key=KEY) as server:
        reply = await asking(server, dialect)("hi", on_text=heard.append)
    assert "".join(heard) == text.replace(KEY, "[key]")
    assert reply.text == "".join(heard)


async def test_an_agents_stream_gives_what_was_recorded():
    async with StandIn([{"text": "x" * 30, "size": 1}], key=KEY) as server:
        ask = asking(server, "anthropic.messages")

        @holdfast.agent
        async def reader() -> list[str]:
            return [text async for text in ask("go", stream=True)]

        async with Runtime(store="memory") as runtime:
            run = await runtime.start(reader)
            assert await run.result() == ["x" * 24, "x" * 6]


async def test_a_guests_request_is_answered_from_the_journal_the_second_time(tmp_path):
    heard: list[str] = []
    async with StandIn(["Hello there"], key=KEY) as server:
        ask = asking(server, "openai.chat")
        settings = holdfast.Settings(store=str(tmp_path))

        async def life(*, stops: bool) -> None:
            async with Runtime(settings) as runtime, await runtime.guest("helper", name="g"):
                stream = ask("hi", stream=True)
                heard.extend([text async for text in stream])
                assert (await stream).text == "Hello there"
                if stops:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await life(stops=True)
        await life(stops=False)
        assert len(server.requests) == 1
    assert heard == ["Hello th", "ere", "Hello there"]


async def test_what_it_used_is_charged_and_what_it_may_use_is_reserved():
    """D66"""
    from holdfast.gate import parse_policy

    policy = parse_policy(
        """
version: 1
rules: [{id: rest, when: {effect: read}, then: allow}]
budgets:
  - {id: words, unit: tokens, limit: 100, scope: run}
""",
        "policy",
    )
    async with StandIn([{"text": "ok", "usage": {"input": 30, "output": 20}}], key=KEY) as server:
        ask = asking(server, "openai.chat", max_tokens=40)
        assert ask._worst(request={"max_tokens": 40, "messages": []})["tokens"] > 40

        @holdfast.agent
        async def helper() -> list[str]:
            found = [(await ask("hi")).text]
            try:
                await ask("hi" * 200)
            except holdfast.Refused as error:
                found.append(str(error))
            return found

        async with Runtime(store="memory", policy=policy) as runtime:
            run = await runtime.start(helper)
            asked = asyncio.ensure_future(run.result())
            await waiting(run)
            await runtime.answer(run.id, "deny")
            found = await asked
        assert found[0] == "ok"
        assert "50 of 100 tokens" in found[1]
        assert len(server.requests) == 1


# ---- other providers -------------------------------------------------------------------------


async def test_other_providers_are_asked_through_pydantic_ai(monkeypatch):
    script = [
        {"text": "hm", "calls": [{"name": "look_up", "arguments": {"word": "tea"}}]},
        {"text": '```json\n{"name": "Ada", "age": 36}\n```', "usage": {"input": 5, "output": 4}},
        {"error": 429, "message": f"slow down {KEY}"},
    ]
    async with StandIn(script, key=KEY) as server:
        monkeypatch.setenv("GOOGLE_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        ask = model("google:gemini-2.5-flash", retries=0)

        @holdfast.agent
        async def helper() -> list[Any]:
            ended = await holdfast.loop(ask, [look_up], "who?", system="Be brief.", output=Person)
            try:
                await ask("more")
            except ToolError as error:
                return [ended.output, ended.used["money"] > 0, str(error), error.retryable]
            return []

        async with Runtime(store="memory") as runtime:
            run = await runtime.start(helper)
            output, priced, error, retryable = await run.result()
            found = await steps(runtime, run.id)
            assert KEY not in repr(await runtime.store.read(run.id)) + repr(found)
    assert output == {"name": "Ada", "age": 36}
    assert priced
    assert "status 429" in error
    assert KEY not in error
    assert retryable
    assert found[0][0]["dialect"] == "pydantic-ai"
    assert found[1][1]["usage"]["input"] == 5
    asked = DIALECTS["gemini"].request(server.requests[1].body)
    assert "tea 1" in json.dumps(asked.messages)
    assert "Be brief." in json.dumps(asked.messages)
    assert "JSON Schema" in json.dumps(asked.messages)


def test_a_provider_that_nobody_knows_is_said_to_be_one():
    with pytest.raises(Misuse, match="model nobody:x"):
        asyncio.run(model("nobody:x")("hi"))


# ---- names and keys --------------------------------------------------------------------------


async def test_the_environment_says_where_and_with_which_key(monkeypatch):
    async with StandIn(["a", "b", "c"], key=KEY) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("MY_LAB_BASE_URL", server.url + "/v1/")
        for name in ("OPENAI", "ANTHROPIC", "MY_LAB"):
            monkeypatch.setenv(f"{name}_API_KEY", KEY)
        for name in ("openai:m", "anthropic:m", "my-lab:org/m"):
            await model(name)("hi")
        paths = [one.path for one in server.requests]
        assert paths == ["/v1/chat/completions", "/v1/messages", "/v1/chat/completions"]
        monkeypatch.delenv("OPENAI_BASE_URL")
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(Misuse, match="set OPENAI_API_KEY"):
            await model("openai:m")("hi")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: model("gpt"), "provider:name"),
        (lambda: model("a:b", base_url="ftp://x"), "http or https"),
        (lambda: model("a:b", base_url="http://u:p@x"), "no query, fragment, user"),
        (lambda: model("a:b", base_url="http://x", dialect="gemini"), "not asked directly"),
        (lambda: model("openai:b")([{"role": "boss"}]), "message 0: its role"),
        (lambda: model("openai:b")([]), "nothing to ask"),
        (lambda: menu([look_up, look_up]), "two tools would be called look_up"),
        (lambda: Wanted(object()), "no JSON Schema"),
    ],
)
def test_what_is_wrong_is_said_at_once(wrong: Any, why: str):
    with pytest.raises(Misuse, match=why):
        wrong()


def test_schemas_come_from_signatures():
    @holdfast.tool(effect="read", name="files.find")
    async def find(title: str, where: list[Person], deep: bool = False) -> str:
        """Finds."""
        return title

    @holdfast.tool(effect="read")
    def nothing() -> None: ...

    found = menu([find, nothing])
    assert list(found) == ["files_find", "nothing"]
    schema = found["files_find"].schema
    assert set(schema["properties"]) == {"title", "where", "deep"}  # a field may be called title
    assert schema["required"] == ["title", "where"]
    assert "title" not in schema["$defs"]["Person"]
    assert found["nothing"].schema["properties"] == {}
    assert Wanted(Person).strict
    assert Wanted(Person).schema["additionalProperties"] is False
    assert not Wanted(dict[str, int]).strict
