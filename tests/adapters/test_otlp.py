"""Spans to an OpenTelemetry endpoint: what arrives is real protobuf, and no secret is told."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from holdfast.adapters.otlp import Exporter
from holdfast.explain.spans import Look
from holdfast.explain.traces import Traces
from holdfast.stores.memory import MemoryStore
from holdfast.values.errors import Misuse, Outside
from tests.adapters.collector import collecting
from tests.explain.family import recorded

SECRET = "Bearer 0123456789abcdef"


async def spans():
    store = MemoryStore()
    runs = await recorded(store)
    traces = Traces(store, Look(store.get))
    return [span for run in runs for span in await traces.run(run)]


async def test_x160_what_arrives_is_the_same_bytes_twice():
    found = await spans()
    with collecting() as collector:
        for _ in range(2):
            exporter = Exporter(collector.url, {"authorization": SECRET})
            exporter.send(found)
            exporter.close()
        first, second = collector.bodies
        assert first == second
        assert collector.headers[0]["authorization"] == SECRET
        got = {span.span_id.hex(): span for span in collector.spans}
        assert set(got) == {span.place.span for span in found}
        model = next(span for span in got.values() if span.name == "chat gpt-x")
        known = {one.key: one.value for one in model.attributes}
        assert known["gen_ai.usage.input_tokens"].int_value == 15
        assert known["gen_ai.response.finish_reasons"].array_value.values[0].string_value == "stop"
        assert model.kind == 3  # client


async def test_a_busy_endpoint_is_asked_again():
    with collecting() as collector:
        collector.answers = [503, 429]
        exporter = Exporter(collector.url)
        exporter.send((await spans())[:2])
        assert len(collector.spans) == 2
        exporter.close()


async def test_what_is_rejected_is_counted():
    with collecting() as collector:
        collector.rejects = 2
        exporter = Exporter(collector.url)
        exporter.send(await spans())
        assert (exporter.rejected, exporter.why) == (2, "too old")
        exporter.close()


@pytest.mark.parametrize("status", [400, 401, 307])
async def test_x163_a_refusal_names_no_header(
    status: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    found = await spans()
    with collecting() as collector:
        collector.answers = [status] * 9
        exporter = Exporter(collector.url, {"authorization": SECRET})
        with pytest.raises(Outside) as caught:
            exporter.send(found)
        exporter.close()
        assert not collector.bodies
    said = str(caught.value) + "".join(capfd.readouterr()) + caplog.text
    assert "0123456789abcdef" not in said
    assert "did not take spans" in said


def test_an_endpoint_must_be_a_url():
    with pytest.raises(Misuse):
        Exporter("collector:4318")
