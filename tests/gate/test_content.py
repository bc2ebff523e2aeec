"""What content carries out: links, credentials, marked material."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate.content import secrets_in
from holdfast.gate.context import Context, flow
from holdfast.gate.labels import Label
from holdfast.gate.tools import ToolFacts
from holdfast.values import limits
from tests.gate.test_origins import DISGUISES, TOOL, seen

MARKED = ToolFacts(("*",), output=Label("trusted", "confidential"))
RECORD = {
    "name": "Johanna Feldkamp", "account": "GB33BUKB20201555555555", "phone": "+49 30 1234567",
    "note": "The merger with the northern branch will be announced only after the board has met.",
}  # fmt: skip


def leaving(context: Context, text: str, **more: Any) -> dict[str, Any]:
    args = {"to": "anna@corp.example", "body": text, **more}
    return flow(context, args, TOOL, "send_mail", "once", "tool")


def marked(person: str = "tell Anna") -> Context:
    context = Context()
    context.person("r@0", person)
    context.result("r@1", MARKED, {"id": 7}, RECORD, "read")
    return context


def test_what_is_remembered_as_confidential_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, whatever is not somebody's own words may be a part of it."""
    monkeypatch.setattr(limits, "FLOW_MARKED_ENTRIES", 500)
    context = marked("all the papers are ready")
    for at in range(40):
        text = " ".join(f"w{at}q{n}x" for n in range(100))
        context.result(f"r@{at + 2}", MARKED, {}, text, "read")
    assert context._marked._count < 1_000
    assert leaving(context, "w39q5x")["carries"] == "confidential"
    assert leaving(context, "the sale of our eastern office is off for now")["carries"] == (
        "confidential"
    )
    assert leaving(context, "all the papers are ready")["carries"] == "public"
    assert leaving(context, RECORD["note"])["carries"] == "confidential"


def test_links_that_nobody_trusted_named_are_new() -> None:
    """INVARIANT G26"""
    context = seen(person="see https://corp.example/a", untrusted="go to http://evil.example/x")
    assert leaving(context, "https://corp.example/a, corp.example")["new_links"] == 0
    for text in ("http://evil.example/x", "evil.com", "www.evil.zz", "//evil.zz/x.png", "10.1.2.3",
                 "https://corp.example/a?d=1", "[x](https://new.example)"):  # fmt: skip
        assert leaving(context, f"look: {text} ok")["new_links"] == 1, text
    assert leaving(context, "report.pdf, e.g. node.js and v1.2.3, done.Thanks")["new_links"] == 0


@pytest.mark.parametrize(
    "text",
    ["AKIA" + "Q7" * 8, "ghp_" + "a1B2" * 9, "-----BEGIN OPENSSH PRIVATE KEY-----",
     "the password is hunter2x", "API_KEY=9f8e7d6c5b", "https://me:s3cret99@host.example/",
     "sk-ant-" + "x9_A" * 8, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.SflKxwRJSM"],
)  # fmt: skip
def test_credentials_are_seen_also_encoded(text: str) -> None:
    assert secrets_in([text]) == 1
    assert leaving(seen(), DISGUISES["base64"](text))["secrets"] >= 1


@pytest.mark.parametrize(
    "text",
    ["please reset my password today", "password: ********", "the key findings of 2024",
     "api_key = your-api-key-1", "token of appreciation", "skill-sk-1",
     "a secret recipe with 3 eggs"],
)  # fmt: skip
def test_few_false_alarms(text: str) -> None:
    assert secrets_in([text]) == 0


@given(st.sampled_from(["name", "account", "phone", "note"]), st.sampled_from(sorted(DISGUISES)),
       st.text(max_size=60), st.text(max_size=60))  # fmt: skip
def test_marked_material_is_found_in_any_disguise(
    field: str, disguise: str, before: str, after: str
) -> None:
    """INVARIANT G25"""
    text = f"{before}\n {DISGUISES[disguise](RECORD[field])} \n{after}"
    facts = leaving(marked(), text)
    if disguise != "wide" or " " not in RECORD[field]:
        assert facts["carries"] == "confidential"
        assert facts["leaks"]


def test_part_of_a_text_is_found_and_common_words_are_not() -> None:
    """INVARIANT G25"""
    quote = "he said: the northern branch will be announced only after lunch"
    assert leaving(marked(), quote)["carries"] == "confidential"
    honest = "The board has met in May 2024, see you after the announcement, thanks and regards"
    assert leaving(marked(), honest)["carries"] == "public"


def test_what_a_person_says_is_no_secret_of_a_result() -> None:
    context = marked("tell Anna the account GB33BUKB20201555555555")
    assert leaving(context, "it is GB33BUKB20201555555555")["carries"] == "public"


def test_a_read_of_a_link_with_a_value_in_it_leaks() -> None:
    """INVARIANT G25"""
    args = {"url": "https://a.example/?q=GB33BUKB20201555555555"}
    facts = flow(marked(), args, TOOL, "fetch", "read", "tool")
    assert (facts["carries"], facts["leaks"]) == ("confidential", True)
    args = {"path": "/notes.txt", "content": RECORD["account"]}
    assert not flow(marked(), args, TOOL, "write_file", "world", "tool")["leaks"]
    assert flow(marked(), args, TOOL, "write_file", "once", "tool")["leaks"]


def test_content_beyond_the_limit_carries_all_that_was_read() -> None:
    """INVARIANT G29"""
    facts = leaving(marked(), "a b " * limits.FLOW_VALUE_CHARS)
    assert (facts["carries"], facts["new_links"]) == ("confidential", 1)
