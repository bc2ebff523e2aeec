"""``holdfast export``: spans, lines, tables; and ``holdfast sql``."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from pathlib import Path

import duckdb
import pytest

from tests.adapters.collector import collecting
from tests.cli.support import command, environment, invoke


def test_runs_of_a_store(place: Path, monkeypatch: pytest.MonkeyPatch):
    invoke("run", "agents.py:family", "-q")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
        said = json.loads(invoke("export", "--all", "--as", "otlp", "--json").stdout)
        assert said["spans"] == len(collector.spans) > 6
        assert len({span.trace_id for span in collector.spans}) == 1
        bodies = list(collector.bodies)
        invoke("export", "--all", "--as", "otlp", "--openinference")
        collector.bodies = collector.bodies[len(bodies) :]
        keys = {one.key for span in collector.spans for one in span.attributes}
        assert "openinference.span.kind" in keys
        collector.bodies = []
        invoke("export", "--since", "1h", "--as", "otlp", "--endpoint", collector.url)
        assert collector.bodies == bodies


def test_spans_leave_as_runs_go_on(place: Path):
    invoke("run", "agents.py:add", "1", "-q")
    with collecting() as collector:
        follower = subprocess.Popen(
            command("export", "--as", "otlp", "--follow", "--all", "--endpoint", collector.url),
            env=environment(), cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            assert collector.came.acquire(timeout=60)  # what was there
            late = {span.span_id for span in collector.spans}
            invoke("run", "agents.py:add", "2", "-q")
            ended: set[str] = set()
            while len(ended) < 2:
                assert collector.came.acquire(timeout=60)
                ended = {span.trace_id for span in collector.spans if not span.parent_span_id}
            live = {span.span_id for span in collector.spans} - late
        finally:
            os.kill(follower.pid, signal.SIGINT)
            follower.communicate(timeout=30)
        collector.bodies = []
        invoke("export", "--all", "--as", "otlp", "--endpoint", collector.url)
        assert live <= {span.span_id for span in collector.spans}
        assert late | live == {span.span_id for span in collector.spans}


CARRIES = """
import holdfast


@holdfast.tool(effect="read")
async def find(n: int) -> dict:
    return {"account": "DE12345678901234"}


@holdfast.tool(effect="once")
async def pay(to: str) -> str:
    return "paid"


@holdfast.agent
async def carries() -> str:
    return await pay((await find(1))["account"])
"""


def _why_links(*more: str) -> list[tuple[dict[str, str], str]]:
    """What links to sources say, with the name of the span that each leads to."""
    with collecting() as collector:
        invoke("export", "--all", "--as", "otlp", "--endpoint", collector.url, *more)
        names = {span.span_id: span.name for span in collector.spans}
        return [
            ({one.key: one.value.string_value for one in link.attributes}, names[link.span_id])
            for span in collector.spans
            if span.name == "execute_tool pay"
            for link in span.links
        ]


def test_effects_link_to_what_was_carried_into_their_arguments(place: Path):
    """X201."""
    (place / "carrying.py").write_text(CARRIES, encoding="utf-8")
    invoke("run", "carrying.py:carries", "--name", "c1", "-q", code=10)
    invoke("approve", "c1")
    invoke("resume", "--all", "-q")
    assert _why_links() == []
    told = _why_links("--why")
    assert ({"why.edge": "carried", "why.path": "to"}, "execute_tool find") in told
    assert {attributes["why.edge"] for attributes, _ in told} == {"carried"}
    invoke("export", "--all", "--why", "some.holdfast", code=2)


def test_lines(place: Path):
    invoke("run", "agents.py:add", "1", "-q")
    told = invoke("export", "--all", "--as", "jsonl", "-").stdout.splitlines()
    lines = [json.loads(one) for one in told]
    logged = invoke("log", "--since", "0", "--json").stdout.splitlines()
    assert lines == [json.loads(one) for one in logged]
    invoke("export", "--all", "--as", "jsonl", "--no-content", "some.jsonl")
    bare = [json.loads(one) for one in (place / "some.jsonl").read_text("utf-8").splitlines()]
    assert [one["id"] for one in bare] == [one["id"] for one in lines]
    assert not any("args" in one or "value" in one for one in bare)
    invoke("export", "--all", "--as", "jsonl", "some.jsonl", code=2)  # it exists
    run = lines[0]["run"]
    cut = invoke("export", run, "--as", "jsonl", "--value-chars", "4", "-").stdout.splitlines()
    assert all(len((json.loads(one)["args"] or {}).get("cut", "")) <= 4 for one in cut)


def test_tables_as_parquet(place: Path):
    invoke("run", "agents.py:family", "-q")
    invoke("export", "--all", "--as", "parquet", "it's tables")
    with duckdb.connect() as conn:
        runs = conn.execute(
            "SELECT run, agent, status FROM read_parquet(?)", ["it's tables/runs.parquet"]
        ).fetchall()
    asked = json.loads(invoke("sql", "SELECT run, agent, status FROM runs", "--json").stdout)
    assert sorted(runs) == sorted((one["run"], one["agent"], one["status"]) for one in asked)
    assert len(runs) == 3


def test_sql_in_three_forms(place: Path):
    invoke("run", "agents.py:hostile", "-q")
    text = "SELECT kind, name, status FROM steps"
    assert json.loads(invoke("sql", text, "--json").stdout) == [
        {"kind": "tool", "name": "evil", "status": "value"}
    ]
    rows = list(csv.reader(io.StringIO(invoke("sql", text, "--csv").stdout)))
    assert rows == [["kind", "name", "status"], ["tool", "evil", "value"]]
    assert invoke("sql", text).stdout.split() == ["kind", "name", "status", "tool", "evil", "value"]
    shown = invoke("sql", "SELECT char(27) || 'x' AS e").stdout
    assert "\x1b" not in shown
    assert "more than 1 rows" in invoke("sql", "SELECT * FROM events", "--limit", "1").stderr
    invoke("sql", code=2)


@pytest.mark.parametrize("words", [
    ["--as", "otlp"], ["--as", "jsonl", "--all"], ["--as", "parquet", "--all"], [],
    ["--all", "x", "--follow"], ["--all", "--openinference", "x"], ["--all", "--content", "x"],
])  # fmt: skip
def test_what_makes_no_sense_is_told(place: Path, words: list[str]):
    invoke("run", "agents.py:add", "1", "-q")
    invoke("export", *words, code=2)


def test_a_page_of_a_run(place: Path):
    invoke("run", "agents.py:family", "-q")
    first = json.loads(invoke("sql", "SELECT run FROM runs", "--json").stdout)[0]["run"]
    invoke("show", first, "--html", "page.html")
    page = (place / "page.html").read_text("utf-8")
    assert page.count("<circle") == 3
    assert "<script" not in page
    invoke("show", f"{first}@1", "--html", "page.html", code=2)
