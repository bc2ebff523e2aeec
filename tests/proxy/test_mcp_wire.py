"""Messages, names and translations as data: properties."""

from __future__ import annotations

import json
from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.proxy import config, eras, frames
from holdfast.proxy.door import _decoded
from holdfast.proxy.lines import Lines
from holdfast.proxy.remote import header_value, mirrored
from holdfast.proxy.sse import Events, event
from holdfast.proxy.stepping import Stepping
from holdfast.values import limits
from holdfast.values.errors import Misuse, TooLarge

NAMES = st.text("ab_", min_size=1, max_size=4)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({one % (len(whole) + 1) for one in places} | {0, len(whole)})
    return [whole[a:b] for a, b in pairwise(ends)]


@given(
    st.lists(st.binary(max_size=12).filter(lambda one: b"\n" not in one)), st.lists(st.integers(0))
)
def test_lines_are_the_same_however_they_arrive(many: list[bytes], places: list[int]):
    got: list[bytes] = []
    lines = Lines(got.append, lambda: None)
    for piece in cut(b"".join(one + b"\n" for one in many), places):
        lines.feed(piece)
    assert got == [one.strip() for one in many if one.strip()]


def test_of_a_line_that_is_too_long_nothing_is_kept(monkeypatch: pytest.MonkeyPatch):
    """INVARIANT D1."""
    monkeypatch.setattr(limits, "FRAME_BYTES", 10)
    got: list[bytes] = []
    told: list[int] = []
    lines = Lines(got.append, lambda: told.append(1))
    for piece in (b"12345678901234", b"567890", b"12\nshort\n", b"12345678901\nend", b"\n"):
        lines.feed(piece)
    assert (got, len(told)) == ([b"short", b"end"], 2)


@given(st.lists(st.text(max_size=10).filter(str.isprintable)), st.lists(st.integers(0)))
def test_events_are_the_same_however_they_arrive(many: list[str], places: list[int]):
    whole = b"".join(event(one.encode(), f"1-{at}") for at, one in enumerate(many))
    events = Events()
    got = [one for piece in cut(whole, places) for one in events.feed(piece)]
    assert [(one.data.decode(), one.id) for one in got] == [
        (one, f"1-{at}") for at, one in enumerate(many)
    ]


def test_a_piece_of_an_event_is_looked_at_once():
    """A long line in many pieces: none of them is copied with every other one."""
    events = Events()
    piece = b"x" * 4096

    class Piece(bytes):
        looked = 0

        def split(self, *args: Any) -> list[bytes]:  # type: ignore[override]
            Piece.looked += len(self)
            return super().split(*args)

    events.feed(Piece(b"data: "))
    for _ in range(100):
        assert events.feed(Piece(piece)) == []
    (found,) = events.feed(Piece(b"\r\n\r\n"))
    assert found.data == piece * 100
    assert Piece.looked == 6 + 100 * 4096 + 4


@pytest.mark.parametrize("line", [b"data:\n", b"data: x\n", b"data\n"])
def test_an_event_of_many_lines_has_an_end(line: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "FRAME_BYTES", 1000)
    events = Events()
    with pytest.raises(TooLarge):
        deque(map(events.feed, [line] * 1000))


@given(st.integers(0))
def test_a_server_says_within_bounds_when_to_come_back(wait: int):
    (found,) = Events().feed(b"retry: %d\n\n" % wait)
    least, most = limits.RESUME_MIN_MS, int(limits.WIRE_RETRY_SECONDS * 1000)
    assert found.retry == min(max(wait, least), most)


@given(st.binary() | JSON.map(lambda one: json.dumps(one).encode()))
def test_whatever_comes_is_a_message_or_an_error_of_the_protocol(line: bytes):
    """INVARIANT D20."""
    try:
        said = frames.parse(line).jsonrpc
    except frames.Broken as error:
        said = error.code
    assert said in ("2.0", frames.PARSE_ERROR, frames.INVALID_REQUEST)


@given(st.text())
def test_a_header_says_any_text(text: str):
    value = header_value(text)
    assert value.isascii()
    assert value.isprintable()
    assert _decoded(value) == text


def test_headers_repeat_what_a_schema_wants_repeated():
    schema = {"properties": {
        "a": {"type": "string", "x-mcp-header": "Region"},
        "b": {"properties": {"c": {"type": "boolean", "x-mcp-header": "Deep"}}},
        "d": {"type": "integer", "x-mcp-header": "bad name"}}}  # fmt: skip
    args = {"a": "eu", "b": {"c": True}, "d": 1}
    assert mirrored(schema, args) == {"Mcp-Param-Region": "eu", "Mcp-Param-Deep": "true"}


def test_hints_only_choose_a_default():
    assert eras.effect_of({"readOnlyHint": True}) == "read"
    assert eras.effect_of({"idempotentHint": True}) == "idempotent"
    assert eras.effect_of({"readOnlyHint": "yes"}) == "once"
    assert eras.effect_of(None) == "once"


def test_a_server_cannot_talk_a_tool_down():
    """INVARIANT D17; and where the policy speaks, hints count for nothing."""
    said: Any = {"shop.look": "idempotent"}
    nobody: Any = None
    stepping = Stepping(
        nobody, effect=lambda name: said.get(name, ""), asking=nobody, patience=0, mark=str
    )
    pay: dict[str, Any] = {"name": "pay", "inputSchema": {"type": "object"}}
    hinted = {**pay, "annotations": {"readOnlyHint": True}}
    assert stepping.described("shop", hinted).effect == "read"
    assert stepping.described("shop", pay).effect == "once"
    assert stepping.described("shop", hinted).effect == "once"
    assert stepping.described("shop", {**hinted, "name": "look"}).effect == "idempotent"
    changed = stepping.described("shop", {**pay, "description": "Pays, and tells"})
    assert changed.definition != stepping.described("shop", pay).definition
    assert changed.name == "shop.pay"


def test_long_calls_are_promised_to_their_own_era_only():
    """INVARIANT D4."""
    can = {"tools": {}, "tasks": {}, "extensions": {eras.TASKS: {}, "x/y": {}}}
    assert eras.server_capabilities(can, native=True) == can
    assert eras.server_capabilities(can, native=False) == {"tools": {}, "extensions": {"x/y": {}}}


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("npx -y @modelcontextprotocol/server-filesystem@1.2 /tmp", "filesystem"),
        ("node /x/node_modules/@scope/server-everything/dist/index.js stdio", "everything"),
        ("uvx mcp-server-git --repository .", "git"),
        ("python -m mcp_server_time", "time"),
        ("python3.11 /a/ledger.py", "ledger"),
    ],
)
def test_a_server_is_named_after_its_command(command: str, name: str):
    assert config.from_command(tuple(command.split())).name == name


def test_a_config_of_a_client_is_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_KEY", "k")
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {
        "one": {"command": "x", "args": ["${A_KEY}", "${NONE:-d}"], "env": {"K": "${A_KEY}"}},
        "two": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${A_KEY}"}},
        "off": {"command": "y", "disabled": True}}}))  # fmt: skip
    one, two = config.read_config(str(file))
    assert (one.command, one.env) == (("x", "k", "d"), {"K": "k"})
    assert two.headers == {"Authorization": "Bearer k"}
    for text in ("{", "[]", "{}", '{"mcpServers": {"a": {}}}',
                 '{"mcpServers": {"a": {"command": "${NONE}"}}}'):  # fmt: skip
        file.write_text(text)
        with pytest.raises(Misuse, match="--config"):
            config.read_config(str(file))
