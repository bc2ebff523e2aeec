"""What is decided without starting anything: files of clients, prompts, environments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from holdfast.launch import clients, jsonc, keys
from holdfast.launch.entries import Rewritten
from holdfast.launch.home import gather, overlay
from holdfast.proxy.wiring import Wiring
from holdfast.values.errors import Misuse

_NAMES = st.text("abcdefgh-_", min_size=1, max_size=8)
_ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {"command": st.sampled_from(["npx", "python3"])},
        optional={"args": st.lists(st.text("ab c", max_size=4), max_size=3),
                  "env": st.dictionaries(_NAMES, st.just("secret"), max_size=2),
                  "disabled": st.booleans(), "alwaysAllow": st.just(["x"])},
    ),
    st.fixed_dictionaries({"url": st.just("https://example.com/mcp")},
                          optional={"headers": st.just({"X": "secret"})}),
    st.integers(),
)  # fmt: skip


def offer(name: str, server: Any) -> tuple[list[str], dict[str, str]] | None:
    del name, server
    return ["pipe", "here"], {"TOKEN": "t"}


@given(st.dictionaries(_NAMES, _ENTRIES, max_size=4), st.booleans())
def test_what_was_led_elsewhere_comes_back(servers: dict[str, Any], other: bool):
    before = json.dumps({"mcpServers": servers, "other": [1]}).encode()
    file = Rewritten(".mcp.json", before)
    changed = file.lead(offer, {})
    assert changed == (file.content != before)
    led = {k for k, one in servers.items() if isinstance(one, dict) and not one.get("disabled")}
    assert set(file.names) == led
    shown = json.loads(file.content)["mcpServers"]
    assert all(shown[name]["command"] == "pipe" for name in led)
    assert "secret" not in json.dumps({name: shown[name] for name in led})
    assert file.back(file.content) == before
    if other:  # the command wrote the file anew, with an entry more
        document = json.loads(file.content)
        document["mcpServers"] = {**document["mcpServers"], "ZZ": {"command": "new"}}
        after = json.loads(file.back(json.dumps(document, indent=7).encode()))
        assert after == {"mcpServers": {**servers, "ZZ": {"command": "new"}}, "other": [1]}


def test_comments_and_other_forms():
    text = '{\n // mine\n "servers": {"a": {"command": "x", "args": ["http://y"]},}, /* so */ }'
    file = Rewritten(".vscode/mcp.json", text.encode())
    assert file.lead(offer, {})
    assert json.loads(file.content)["servers"]["a"]["args"] == ["here"]
    assert file.back(file.content) == text.encode()
    file = Rewritten("opencode.json", b'{"mcp": {"a": {"type": "local", "command": ["x", "y"]}}}')
    assert file.lead(offer, {})
    assert json.loads(file.content)["mcp"]["a"]["command"] == ["pipe", "here"]
    toml = b'# top\n[mcp_servers.a]\ncommand = "x"\nstartup_timeout_sec = 3\n[tui]\nx = 1\n'
    file = Rewritten(".codex/config.toml", toml)
    assert file.lead(offer, {})
    found = tomlkit.parse(file.content.decode())
    assert found["mcp_servers"]["a"].unwrap() == {
        "command": "pipe", "args": ["here"], "env": {"TOKEN": "t"}, "startup_timeout_sec": 3,
    }  # fmt: skip
    assert file.content.startswith(b"# top")


def test_comments_stay_in_a_file_that_the_command_changed():
    """INVARIANT D194: only what it says otherwise is written otherwise."""
    text = """\ufeff{
  // mine
  "servers": {
    "a": {"command": "x"}, // stays
    "b": {"command": "y"},
    "z": {"command": "z", /* a comma too many */},
  },
  "theme": "dark" /* so */
}
"""
    file = Rewritten(".vscode/mcp.json", text.encode())
    assert file.lead(offer, {})
    document = json.loads(file.content)
    del document["servers"]["b"]
    document["theme"] = "light"
    document["servers"]["new"] = {"command": "n"}
    found = file.back(json.dumps(document).encode()).decode()
    for stays in ("\ufeff{", "// mine", '"a": {"command": "x"}, // stays', "/* a comma too many */",
                  '"theme": "light" /* so */'):  # fmt: skip
        assert stays in found
    assert '"b"' not in found
    assert jsonc.read(found).value["servers"]["new"] == {"command": "n"}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 1.0]) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(_NAMES, _VALUES, max_size=4)


@given(_OBJECTS, _OBJECTS, st.booleans())
def test_a_text_says_what_it_is_to_say(before: dict[str, Any], after: dict[str, Any], twice: bool):
    """INVARIANT D194: whatever differs, also where a name stands there twice."""
    text = "// top\n" + json.dumps(before, indent=1)
    if twice and before:
        name = json.dumps(next(iter(before)))
        text = text.replace("{", "{" + f"{name}: 5, ", 1)
    found = jsonc.saying(text, after)
    assert json.dumps(jsonc.read(found).value, sort_keys=True) == json.dumps(after, sort_keys=True)
    if not twice:
        assert found.startswith("// top\n")
    if json.dumps(jsonc.read(text).value) == json.dumps(after):
        assert found == text


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf{}", b'{"mcpServers": 3}'])
def test_files_that_hold_no_servers_stay_as_they_are(content: bytes):
    for path in (".mcp.json", ".claude.json"):
        file = Rewritten(path, content)
        assert not file.lead(offer, {})
        assert file.content == content


@pytest.mark.parametrize("content", [b"[]", b"\xff", b"{", b"[" * 9000, b'{"a": "x"'])
def test_a_file_that_cannot_be_read_is_an_empty_one(content: bytes):
    """D82"""
    for path in (".mcp.json", ".codex/config.toml", ".claude.json"):
        if path.endswith(".toml") and content == b"[]":
            continue
        file = Rewritten(path, content)
        assert file.lead(offer, {})
        assert file.content == (b"" if path.endswith(".toml") else b"{}\n")
        assert len(file.troubles) == 1
        assert file.back(file.content) == content
        assert file.back(b'{"mcpServers": {}}') == content


def test_what_was_left_out_comes_back_if_the_table_is_gone():
    """D86"""
    servers = {"a": {"command": "x"}}
    file = Rewritten(".vscode/mcp.json", json.dumps({"servers": servers}).encode())
    assert file.lead(lambda name, server: None, {})
    assert json.loads(file.content) == {"servers": {}}
    assert json.loads(file.back(b'{"other": 1}')) == {"servers": servers, "other": 1}
    file = Rewritten(".codex/config.toml", b'[mcp_servers.a]\ncommand = "x"\n')
    assert file.lead(lambda name, server: None, {})
    back = tomlkit.parse(file.back(b"x = 1\n").decode()).unwrap()
    assert back == {"x": 1, "mcp_servers": servers}


def test_what_some_editors_begin_a_file_with_is_no_trouble():
    """D82"""
    content = b'\xef\xbb\xbf{"mcpServers": {"a": {"command": "x", "env": {"K": "secret"}}}}'
    file = Rewritten(".mcp.json", content)
    assert file.lead(offer, {})
    assert json.loads(file.content)["mcpServers"]["a"]["command"] == "pipe"
    assert b"secret" not in file.content
    assert file.back(file.content) == content


def test_what_is_local_to_a_directory_is_found_for_its_copy():
    document = {"projects": {"/old": {"mcpServers": {"a": {"command": "x"}}, "trusted": True}}}
    file = Rewritten(".claude.json", json.dumps(document).encode())
    assert file.lead(offer, {}, same_as={"/new": "/old"})
    found = json.loads(file.content)["projects"]
    assert found["/new"] == found["/old"]
    assert found["/new"]["mcpServers"]["a"]["command"] == "pipe"


def test_a_home_is_links_but_for_what_differs(tmp_path: Path):
    """D83"""
    real, place = tmp_path / "real", tmp_path / "place"
    (real / "a" / "b").mkdir(parents=True)
    (real / "a" / "b" / "c.json").write_text("old", "utf-8")
    (real / "a" / "other").write_text("other", "utf-8")
    (real / "top").write_text("top", "utf-8")
    overlay(real, place, {"a/b/c.json": b"new"})
    assert (place / "a" / "b" / "c.json").read_text("utf-8") == "new"
    assert (real / "a" / "b" / "c.json").read_text("utf-8") == "old"
    assert (place / "a" / "other").readlink() == real / "a" / "other"
    assert (place / "top").read_text("utf-8") == "top"


def test_what_is_new_in_a_home_is_moved_to_the_real_one(tmp_path: Path):
    """D91"""
    real, place = tmp_path / "real", tmp_path / "place"
    (real / "a" / "b").mkdir(parents=True)
    for name in ("a/b/c.json", "a/log-in", "top", "gone", "dir"):
        (real / name).write_text("old", "utf-8")
    overlay(real, place, {"a/b/c.json": b"led", "d.json": b"led"})
    (place / "a" / "fresh").write_text("new", "utf-8")
    (place / "a" / "fresh").replace(place / "a" / "log-in")  # as programs do it
    (place / "a" / "b" / "more").write_text("new", "utf-8")
    (place / "a" / "b" / "c.json").write_text("theirs", "utf-8")
    (place / "made" / "in").mkdir(parents=True)
    (place / "made" / "in" / "it").write_text("new", "utf-8")
    (place / "link").symlink_to("made")
    (place / "gone").unlink()
    (place / "dir").unlink()
    (place / "dir").mkdir()
    (place / "top").write_text("through", "utf-8")
    (said,) = gather(real, place, ["a/b/c.json", "d.json"])
    assert said.startswith("~/dir: ")
    found = {str(one.relative_to(real)): one.read_text("utf-8")
             for one in real.rglob("*") if one.is_file()}  # fmt: skip
    assert found == {
        "a/b/c.json": "old", "a/log-in": "new", "a/b/more": "new", "top": "through", "gone": "old",
        "dir": "old", "made/in/it": "new",
    }  # fmt: skip
    assert (real / "link").readlink() == Path("made")
    assert sorted(one.name for one in real.iterdir()) == ["a", "dir", "gone", "link", "made", "top"]


@pytest.mark.parametrize(("words", "request_"), [
    (("claude", "-p", "fix it", "--model", "x"), "fix it"),
    (("/usr/bin/claude", "--print", "fix it"), "fix it"),
    (("claude", "-p", "--model", "x"), ""),
    (("codex", "exec", "--json", "fix it"), "fix it"),
    (("codex", "exec", "--json"), ""),
    (("codex",), ""),
    (("opencode", "run", "-m", "a/b", "fix it"), "fix it"),
    (("gemini", "--prompt=fix it"), "fix it"),
    (("aider", "--message", "fix it", "a.py"), "fix it"),
    (("sh", "-c", "rm x"), ""),
])  # fmt: skip
def test_the_request_of_known_agents(words: tuple[str, ...], request_: str):
    assert clients.request_of(words) == request_


def test_codex_is_told_at_its_own_options():
    words = clients.led(("codex", "exec", "x"), "http://127.0.0.1:1/openai/v1", "OPENAI_API_KEY")
    assert words[-2:] == ("exec", "x")
    assert 'env_key="OPENAI_API_KEY"' in " ".join(words)
    assert "requires_openai_auth=true" in " ".join(clients.led(("codex",), "u", ""))
    assert clients.led(("other", "x"), "u", "") == ("other", "x")


def test_claude_is_told_to_ask():
    words = clients.asking(("claude", "-p", "x"))
    hooks = json.loads(words[2])["hooks"]["PreToolUse"]
    assert words[1] == "--settings"
    assert hooks[0]["hooks"][0]["command"].endswith("hook.py")
    assert clients.asking(("codex", "exec")) == ("codex", "exec")
    with pytest.raises(Misuse, match="settings"):  # ours would not count
        clients.asking(("claude", "--settings=x.json", "-p", "x"))


def test_base_urls_lead_where_they_led():
    env = {"OPENAI_BASE_URL": "https://mine.example/api", "OPENAI_API_KEY": "k1",
           "ANTHROPIC_BASE_URL": "https://b.example", "NO_PROXY": "x.org"}  # fmt: skip
    found = keys.upstreams(env, Wiring())
    urls = {one.name: one.url for one in found.providers}
    assert urls["openai"] == "https://mine.example/api"
    assert urls["anthropic"] == "https://b.example"
    made = keys.environment(env, found, url="http://127.0.0.1:1", token="t")
    assert made["OPENAI_BASE_URL"] == made["OPENAI_API_BASE"] == "http://127.0.0.1:1/openai"
    assert made["OPENAI_API_KEY"] == "t"
    assert made["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1/~t/anthropic"
    assert made["NO_PROXY"] == "x.org,127.0.0.1,localhost"


@given(st.text(max_size=80), st.binary(min_size=24, max_size=24))
def test_a_trace_is_kept_or_new(text: str, chance: bytes):
    found = keys.traceparent(text, chance)
    version, trace, span, _ = found.split("-", 3)
    assert (len(trace), len(span)) == (32, 16)
    assert version
