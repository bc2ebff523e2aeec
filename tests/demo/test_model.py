"""Candidates from a model: both wires against a server on loopback, and answers of all sorts."""

import json

import pytest

from examples.repair import model
from examples.repair.localise import Suspect
from tests.demo.support import Provider

SOURCES = {"a.py": "def f(a, b):\n    return a < b\n\n\ndef g(a, b):\n    return a < b\n"}
EDIT = {"path": "a.py", "line": 6, "old": "a < b", "new": "a <= b", "why": "off by one"}


@pytest.fixture(autouse=True)
def answer() -> None:
    Provider.answer = f"Here it is:\n```json\n{json.dumps([EDIT])}\n```\nGood luck."


@pytest.mark.parametrize(
    ("name", "base", "path", "header", "value"),
    [
        ("OPENAI", "/v1", "/v1/chat/completions", "authorization", "Bearer secret"),
        ("ANTHROPIC", "", "/v1/messages", "x-api-key", "secret"),
    ],
)
def test_both_wires(provider: str, monkeypatch, name, base, path, header, value):
    monkeypatch.setenv(f"{name}_API_KEY", "secret")
    monkeypatch.setenv(f"{name}_BASE_URL", provider + base)
    to = model.wire()
    assert to is not None
    assert "secret" not in repr(to)
    found = model.model_candidates(to, [Suspect("a.py", 6, 1.0)], SOURCES, "test_g failed")
    assert [made.new_source(SOURCES["a.py"]) for made in found] == [
        "def f(a, b):\n    return a < b\n\n\ndef g(a, b):\n    return a <= b\n"
    ]
    asked_path, headers, body = Provider.asked[0]
    assert (asked_path, headers[header], body["model"]) == (path, value, to.model)
    question = body["messages"][0]["content"]
    assert "test_g failed" in question
    assert "    6     return a < b" in question


def test_a_refusal_names_the_address_and_no_secret(provider: str):
    settings = {"OPENAI_API_KEY": "secret", "OPENAI_BASE_URL": provider, "OPENAI_MODEL": "refused"}
    to = model.wire(settings)
    assert to is not None
    with pytest.raises(model.ModelUnavailable, match="answered 429") as caught:
        model.ask("?", to, settings)
    assert "secret" not in str(caught.value)


def test_no_key_no_model():
    assert model.wire({}) is None
    assert model.wire({"OPENAI_API_KEY": ""}) is None


def test_nothing_listens():
    to = model.Wire("OPENAI", "http://127.0.0.1:9", "m")
    with pytest.raises(model.ModelUnavailable):
        model.ask("?", to, {})
    with pytest.raises(model.ModelUnavailable, match="no http address"):
        model.ask("?", model.Wire("OPENAI", "file:///etc", "m"), {})


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I cannot help.",
        "[1, 2",
        "[]",
        '[{"path": "../secret", "line": 1, "old": "a", "new": "b"}]',
        '[{"path": "a.py", "line": 1, "old": "", "new": "b"}]',
        '[{"path": "a.py", "line": "x", "old": "not there", "new": "b"}]',
        '[{"path": "a.py", "line": 2, "old": "a < b", "new": "a <"}]',
        '[{"path": "a.py", "line": 2, "old": "a < b", "new": "a < b"}]',
        '[{"path": ["a.py"], "line": null, "old": 3, "new": {}}, "text", null]',
    ],
)
def test_answers_that_are_no_use(answer: str):
    assert model.parse_edits(answer, SOURCES) == []


def test_answers_in_other_wrappings():
    for answer in (
        json.dumps(EDIT),
        json.dumps({"edits": [EDIT, EDIT]}),
        f"[see] {json.dumps([EDIT])}",
    ):
        assert [made.line for made in model.parse_edits(answer, SOURCES)] == [6]
