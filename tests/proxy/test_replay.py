"""Recorded answers of models: played back to exactly their request, and to nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.models.dialects import DIALECTS
from holdfast.proxy.tape import read_tape
from holdfast.proxy.wire import Rules
from holdfast.values.errors import NotFound
from tests.models.test_standin import ANSWER
from tests.proxy.test_wire import at, every
from tests.proxy.wired import gathered, wired


@every
async def test_an_answer_is_played_back_whole_or_as_a_stream(name: str):
    """D41: the message is the same, however it was recorded and is asked for."""
    plain, body = at(name)
    streamed, streaming = at(name, stream=True)
    async with wired([ANSWER]) as client:
        recorded = json.loads((await client.post(plain, body))._body or b"")
        tape = await read_tape(client.runtime.store, client.guest.id)
        assert len(tape) == 1
        async with wired(tape=tape, runtime=client.runtime) as again:
            for _ in range(2):  # the last answer stays
                reply = await again.post(plain, body)
                assert json.loads(reply._body or b"") == recorded
            reply = await again.post(streamed, streaming)
            assert reply.content_type == "text/event-stream"
            assert gathered(name, reply._body or b"") == recorded
            assert not again.server.requests
            value = (await again.values())[0]
            (step,) = await client.steps()
            assert value["recorded"] == f"{client.guest.id}@{step.key}"
            assert len(await again.steps()) == 3
        assert len(await read_tape(client.runtime.store)) == 1  # what was played back is no record


@every
async def test_a_miss_is_a_clear_error_and_no_call(name: str):
    """D41"""
    path, body = at(name)
    async with wired(["never", "hello"]) as client:
        tape = await read_tape(client.runtime.store)
        async with wired(["never"], tape=tape, runtime=client.runtime) as again:
            reply = await again.post(path, body)
            assert reply.status == 409
            found = DIALECTS[name].answer(json.loads(reply._body or b""))
            assert "nothing recorded answers this request" in found.error
            assert not again.server.requests
            assert await again.steps() == []


async def test_other_words_parameters_and_models_are_other_requests():
    path, body = at("openai.chat")
    others: list[dict[str, Any]] = [
        {**body, "temperature": 0},
        {**body, "model": "other"},
        {**body, "messages": [{"role": "user", "content": "Hi"}]},
        {**body, "tools": []},
    ]
    async with wired(["hello"]) as client:
        await client.post(path, body)
        tape = await read_tape(client.runtime.store)
        async with wired(tape=tape, runtime=client.runtime) as again:
            for other in others:
                assert (await again.post(path, other)).status == 409
            assert (await again.post(path, body)).status == 200


async def test_answers_to_one_request_come_in_their_order_and_what_is_new_may_be_recorded():
    path, body = at("openai.chat")
    new = {**body, "temperature": 0}
    async with wired(["one", "two", {"error": 500}]) as client:
        for _ in range(3):
            await client.post(path, body)
        tape = await read_tape(client.runtime.store)
        assert len(tape) == 2
        rules = Rules(record=True)
        async with wired(["new"], tape=tape, rules=rules, runtime=client.runtime) as again:
            said: list[str] = []
            for asked in (body, body, new):
                reply = json.loads((await again.post(path, asked))._body or b"")
                said.append(reply["choices"][0]["message"]["content"])
            assert said == ["one", "two", "new"]
            assert len(again.server.requests) == 1


async def test_a_tape_of_a_run_that_is_not_there():
    async with wired() as client:
        with pytest.raises(NotFound):
            await read_tape(client.runtime.store, "nowhere")
