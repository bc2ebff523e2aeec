"""Clients' configurations: what is put in, what stays, and what comes back."""

from __future__ import annotations

import json
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.cli.installing import entries, toml
from holdfast.cli.installing.doing import own_words
from holdfast.cli.installing.entries import Terms
from holdfast.launch import jsonc
from holdfast.launch.places import CLIENTS, PERSONAL, PROJECT, files_of
from holdfast.values.errors import Misuse
from tests.cli.support import invoke

TERMS = Terms(words=("/bin/holdfast",), store="/s")
SECRET = "hunter2-hunter2"

JSONC = """// my servers
{
  "theme": "dark", /* kept */
  "%s": {
    // files
    "files": {
      "command": "npx", // with npx
      "args": ["-y", "server-files", "/tmp/a b"],
      "env": { "API_KEY": "hunter2-hunter2" },
    },
    "bare": {"command": "bare-server"},
    "web": {"url": "https://mcp.example.com/mcp", "headers": {"Authorization": "hunter2-hunter2"}}
  },
}
"""
CODEX = """# mine
model = "x"   # the model

[mcp_servers.files]
command = "npx"  # with npx
args = ["-y", "server-files", "/tmp/a b"]

[mcp_servers.files.env]
API_KEY = "hunter2-hunter2"  # secret

[mcp_servers.bare]
command = "bare-server"

[mcp_servers.bare.env]
OTHER = "1"

[mcp_servers.web]
url = "https://mcp.example.com/mcp"
"""
OPENCODE = """{
  "$schema": "x", // kept
  "mcp": {
    "files": {"type": "local", "command": ["npx", "-y", "server-files", "/tmp/a b"],
              "environment": {"API_KEY": "hunter2-hunter2"}},
    "bare": {"type": "local", "command": ["bare-server"], "enabled": true},
    "web": {"type": "remote", "url": "https://mcp.example.com/mcp"}
  }
}
"""
ZED = """{
  "context_servers": {
    "files": {"source": "custom", "command": {"path": "npx",
      "args": ["-y", "server-files", "/tmp/a b"], "env": {"API_KEY": "hunter2-hunter2"}}},
    "bare": {"command": "bare-server", "args": []},
    "web": {"url": "https://mcp.example.com/mcp"}
  }
}
"""


def text_for(name: str) -> str:
    special = {"codex": CODEX, "opencode": OPENCODE, "zed": ZED}
    return special.get(name) or JSONC % CLIENTS[name].servers


def form(name: str) -> Any:
    return toml if name == "codex" else jsonc


def found(name: str, text: str) -> dict[str, entries.Entry]:
    read = form(name).read(text)
    return {one.name: one for one in entries.entries(CLIENTS[name], getattr(read, "value", read))}


# A configuration of each client -------------------------------------------------------------------
@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(place / "home"))
    (place / "home").mkdir()
    return place / "home"


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("name", list(CLIENTS))
def test_in_and_out_again(name: str, project: bool, home: Path, place: Path):
    """INVARIANTS D101, D102, D103: byte for byte, in every client's file; nothing secret shown."""
    client = CLIENTS[name]
    if project and not client.project:
        assert "has no configuration" in invoke(
            "mcp", "install", "--client", name, "--project", ".", code=2
        ).stderr  # fmt: skip
        return
    path = place / client.project[0] if project else files_of(client)[0]
    assert project or home in path.parents
    path.parent.mkdir(parents=True, exist_ok=True)
    before = text_for(name).encode()
    path.write_bytes(before)
    path.chmod(0o640)
    where = ["--client", name, *(["--project", "."] if project else [])]
    shown = invoke("mcp", "install", *where, "--dry-run").stdout
    assert path.read_bytes() == before
    assert SECRET not in shown
    assert "--agent" in shown
    done = invoke("mcp", "install", *where, "--json")
    assert json.loads(done.stdout)["changed"] == ["files", "bare"]
    assert json.loads(done.stdout)["left"] == ["web: it is reached over HTTP"]
    now = found(name, path.read_text())
    store = str(place / ".holdfast" if project else home / ".holdfast")
    assert list(now["files"].words) == [
        *own_words(), "mcp", "--agent", name, "--server", "files", "--store", store, "--env",
        "API_KEY", "--", "npx", "-y", "server-files", "/tmp/a b",
    ]  # fmt: skip
    assert now["bare"].words[-2:] == ("--", "bare-server")
    assert path.read_text().count(SECRET) == text_for(name).count(SECRET)
    comments = re.findall(r"(?m)(?:#|(?<!:)//|/\*)[^\n]*$", text_for(name))
    assert all(one in path.read_text() for one in comments), comments
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    (backup,) = path.parent.glob("*.bak")
    assert backup.read_bytes() == before
    assert stat.S_IMODE(backup.stat().st_mode) == 0o640
    once = path.read_bytes()
    assert "nothing to change" in invoke("mcp", "install", *where).stdout
    assert path.read_bytes() == once
    invoke("mcp", "uninstall", *where)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*holdfast-*"))
    assert "nothing of ours" in invoke("mcp", "uninstall", *where).stdout


@pytest.mark.parametrize("name", list(CLIENTS))
def test_what_somebody_changed_since_stays(name: str):
    """INVARIANTS D100, D103: only our entries are unwrapped."""
    text = text_for(name)
    there = entries.install(CLIENTS[name], form(name), text, TERMS).text
    added = entries.add(CLIENTS[name], form(name), there, TERMS).text
    assert entries.is_serving(list(found(name, added)["holdfast"].words))
    back = entries.uninstall(CLIENTS[name], form(name), added).text
    assert {k: v.words for k, v in found(name, back).items()} == {
        k: v.words for k, v in found(name, text).items()
    }
    mark = "# mine" if name == "codex" else next(iter(text.splitlines()))
    assert mark in back


def test_two_installs_with_a_change_between_come_out_as_the_change(home: Path, place: Path):
    """INVARIANT D103: however often it was put in, nothing of ours stays, nothing else goes."""
    path = place / ".mcp.json"
    path.write_text(
        '{"mcpServers": {"a": {"command": "x"}, "c": {"command": "z", "args": [], "n": 1}}}'
    )
    where = ["--client", "claude-code", "--project", "."]
    invoke("mcp", "install", *where)
    changed = jsonc.put(path.read_text(), ("mcpServers", "b"), {"command": "y", "env": {"K": "v"}})
    path.write_text(changed)
    invoke("mcp", "install", *where, "--observe")
    words = found("claude-code", path.read_text())
    assert all("--observe" in one.words for one in words.values())
    out = invoke("mcp", "uninstall", *where)
    assert "backups of other states stay" in out.stderr
    assert json.loads(path.read_text())["mcpServers"] == {
        "a": {"command": "x"}, "b": {"command": "y", "env": {"K": "v"}},
        "c": {"command": "z", "args": [], "n": 1},
    }  # fmt: skip


BARE = '{"mcpServers": {"a": {"command": "x"}}}'
EMPTY = '{"mcpServers": {"a": {"command": "x", "args": []}}}'
STATES = {"bare": BARE, "empty": EMPTY, "spaced": BARE.replace(" ", "  "), "gone": None}


@given(st.lists(st.sampled_from(["p1", "p2", "serve", "out", *STATES]), max_size=8))
@example(["bare", "p1", "p2", "p1", "out"])
@example(["gone", "serve", "p1", "serve", "out"])
@example(["bare", "p1", "empty", "p1", "p2", "p1", "out"])
@example(["bare", "p1", "p2", "p1", "out", "p2", "out"])
@settings(max_examples=25, deadline=None)
def test_in_whatever_order_it_comes_out_as_it_was(steps: list[str]):
    """INVARIANT D109: each state leads back to what a person wrote, byte for byte, and what they
    wrote before is still in a backup until it stood there again."""
    with tempfile.TemporaryDirectory() as directory:
        path, mine = Path(directory) / "mcp.json", STATES["bare"]
        path.write_text(BARE)
        kept: set[bytes] = set()
        where = ["--client", "claude-code", "--config", str(path)]
        for step in [*steps, "out"]:
            before = path.read_bytes() if path.exists() else None
            if step in STATES:
                mine = STATES[step]
                path.unlink(missing_ok=True)
                if mine is not None:
                    path.write_text(mine)
            elif step == "out":
                invoke("mcp", "uninstall", *where, code=2 if before is None else 0)
                assert (path.read_text() if path.exists() else None) == mine, steps
                kept.discard((mine or "").encode())
            elif step == "serve" or before is not None:
                more = ["--serve"] if step == "serve" else ["--store", f"/{step}"]
                invoke("mcp", "install", *where, *more)
                if mine is not None:
                    kept.add(mine.encode())
            there = {one.read_bytes() for one in path.parent.glob("*.bak")}
            assert kept <= there, steps


@pytest.mark.parametrize("name", list(CLIENTS))
def test_holdfast_itself_is_added_to_a_file_that_was_not_there(name: str, home: Path):
    """INVARIANT D103: what was not there is not there afterwards."""
    path = files_of(CLIENTS[name])[0]
    shown = invoke("mcp", "install", "--client", name, "--serve", "--dry-run")
    assert "serve" in shown.stdout
    assert not path.exists()
    invoke("mcp", "install", "--client", name, "--serve")
    assert entries.is_serving(list(found(name, path.read_text())["holdfast"].words))
    assert "nothing to change" in invoke("mcp", "install", "--client", name, "--serve").stdout
    invoke("mcp", "uninstall", "--client", name)
    assert not path.exists()
    assert not list(path.parent.glob("*holdfast-*"))


def test_what_is_installed_for_is_what_a_launcher_leads():
    """One table: but for clients that no command starts, and those that only a launcher knows."""
    led = {*PROJECT, *PERSONAL}
    for name, client in CLIENTS.items():
        below = {path for path in (*client.project, *client.user) if ":" not in path}
        assert below <= led or not client.led, name
    assert {name for name, one in CLIENTS.items() if not one.led} == {
        "claude-desktop", "windsurf", "zed",
    }  # fmt: skip
    assert ".opencode/opencode.json" in PROJECT
    assert ".copilot/mcp-config.json" in PERSONAL


def test_a_variable_or_a_system_moves_a_file(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert files_of(CLIENTS["codex"]) == (home / ".codex" / "config.toml",)
    monkeypatch.setenv("CODEX_HOME", "/elsewhere")
    assert files_of(CLIENTS["codex"]) == (Path("/elsewhere/config.toml"),)
    assert files_of(CLIENTS["zed"]) == (home / ".config/zed/settings.json",)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    assert files_of(CLIENTS["vscode"]) == (Path("/config/Code/User/mcp.json"),)
    monkeypatch.setattr("sys.platform", "darwin")
    assert files_of(CLIENTS["zed"]) == (Path("/config/zed/settings.json"),)
    assert files_of(CLIENTS["vscode"]) == (
        home / "Library/Application Support/Code/User/mcp.json",
    )  # fmt: skip


def test_servers_of_one_directory_are_wrapped_too(home: Path):
    text = json.dumps({"projects": {"/w": {"mcpServers": {"a": {"command": "x"}}}}, "n": 1})
    (home / ".claude.json").write_text(text)
    invoke("mcp", "install", "--client", "claude-code")
    assert "holdfast" in (home / ".claude.json").read_text()
    invoke("mcp", "uninstall", "--client", "claude-code")
    assert (home / ".claude.json").read_text() == text


def test_a_link_stays_one(home: Path, place: Path):
    real = place / "dotfiles.json"
    real.write_text('{"mcpServers": {"a": {"command": "x"}}}')
    (place / ".mcp.json").symlink_to(real)
    where = ["--client", "claude-code", "--project", "."]
    invoke("mcp", "install", *where)
    assert (place / ".mcp.json").is_symlink()
    assert "holdfast" in real.read_text()
    invoke("mcp", "uninstall", *where)
    assert real.read_text() == '{"mcpServers": {"a": {"command": "x"}}}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such configuration"), ("{", "line 1:"), ("[]", "it is no object"),
        ('{"mcpServers": []}', "no object of servers"), ("{'a': 1}", "name of a member"),
        ("\x00", "line 1:"), ('{"a": 1} x', "follows after the end"), (b"\xff", "not UTF-8"),
        ("[" * 5000, "nested too deep"),
    ],
)  # fmt: skip
def test_what_is_broken_is_said_in_a_line_and_stays(text: Any, said: str, home: Path, place: Path):
    path = place / ".mcp.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes() if path.exists() else None
    for command in ("install", "uninstall"):
        done = invoke("mcp", command, "--client", "claude-code", "--project", ".", code=2)
        assert said in done.stderr
        assert ".mcp.json" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert (path.read_bytes() if path.exists() else None) == before
    assert [one.name for one in place.iterdir() if "holdfast-" in one.name] == []


def test_who_is_unknown_is_said(home: Path, place: Path):
    assert "say one of claude-code" in invoke("mcp", "install", "--client", "x", code=2).stderr
    (place / ".mcp.json").write_text('{"mcpServers": {"holdfast": {"command": "other"}}}')
    where = ["--client", "claude-code", "--project", "."]
    assert "rename it first" in invoke("mcp", "install", *where, "--serve", code=4).stderr
    assert "no such server" in invoke("mcp", "install", *where, "--only", "b", code=2).stderr
    (place / ".mcp.json").write_text('{"mcpServers": {"a": {"command": "x", "envFile": ".env"}}}')
    done = invoke("mcp", "install", *where)
    assert "its variables come from a file" in done.stderr


@pytest.mark.parametrize("name", ["claude-code", "codex", "opencode", "zed"])
def test_what_is_secret_in_words_and_addresses_is_not_shown(name: str, place: Path):
    """INVARIANT D102: whichever way a server is told it, and however the file writes it."""
    words = [
        "--verbose-auth", "--api-key", "live-1x", "--token=live-2x", "-H", "X-Any: live-3x", "-e",
        "FOO=live-4x", "https://example.com/live-5x?key=live-6x", "db://me:live-7x@host/x", "--key",
        "live-8x", "a8f2live-9xa8f2a8f2a8f2", "run --password live-0x", "plain", "/tmp/a b",
    ]  # fmt: skip
    one, path = CLIENTS[name], place / ("c.toml" if name == "codex" else "c.json")
    entry: dict[str, Any] = {"command": "npx", "args": words}
    if one.form == "list":
        entry = {"command": ["npx", *words]}
    elif one.form == "nested":
        entry = {"command": {"path": "npx", "args": words}}
    web = {"url": "https://example.com/live-5x"}
    document = {one.servers: {"web": web, "a": entry, "web2": web}}
    if name == "codex":
        text = toml.put("", (one.servers, "web"), web)
        text = toml.put(text, (one.servers, "a"), entry)
    else:
        text = json.dumps(document, indent=1).replace("/", "\\/")
    path.write_text(text)
    shown = invoke("mcp", "install", "--client", name, "--config", str(path), "--dry-run").stdout
    assert re.findall(r"live-\dx", shown) == []
    for kept in ("--key", "--token=", "FOO=", "plain", "https://example.com/"):
        assert kept in shown
    assert path.read_text() == text


@pytest.mark.parametrize("name", [name for name, one in CLIENTS.items() if one.form != "list"])
def test_arguments_that_are_no_list_are_left(name: str, place: Path):
    one = CLIENTS[name]
    text = json.dumps({one.servers: {"c": {"command": "x", "args": "str"}}})
    if name == "codex":
        text = f'[{one.servers}.c]\ncommand = "x"\nargs = "str"\n'
    path = place / ("c.toml" if name == "codex" else "c.json")
    path.write_text(text)
    done = invoke("mcp", "install", "--client", name, "--config", str(path))
    assert "left as it is: c: args is no list" in done.stderr
    assert path.read_text() == text


def test_what_stands_there_by_hand_is_left(home: Path, place: Path):
    by_hand = ["mcp", "--agent", "me", "--", "npx", "x"]
    text = json.dumps({"mcpServers": {"a": {"command": "holdfast", "args": by_hand}}})
    (place / ".mcp.json").write_text(text)
    where = ["--client", "claude-code", "--project", "."]
    assert "it is Holdfast already" in invoke("mcp", "install", *where).stderr
    invoke("mcp", "uninstall", *where)
    assert (place / ".mcp.json").read_text() == text


def test_a_write_that_fails_leaves_the_file(
    home: Path, place: Path, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANT D101: at whichever write it breaks, the file is as before or as after."""
    path = place / ".mcp.json"
    before = '{"mcpServers": {"a": {"command": "x"}}}'
    real, calls = Path.replace, 0
    for broken in (1, 2):
        path.write_text(before)
        calls = 0

        def replace(one: Any, other: Any, *, broken: int = broken) -> Path:
            nonlocal calls
            calls += 1
            if calls == broken:
                raise OSError(28, "No space left on device")
            return real(one, other)

        monkeypatch.setattr(Path, "replace", replace)
        done = invoke("mcp", "install", "--client", "claude-code", "--project", ".", code=None)
        assert done.exit_code != 0
        assert path.read_text() == before
        assert not [one for one in place.iterdir() if one.name.startswith("..mcp")]


# Texts that are changed at one spot ---------------------------------------------------------------
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])
NAMES = st.text(LETTERS, min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)
BLANKS = st.sampled_from(["", " ", "\n", "\n  ", " /* c, } */ ", ' // x " {\n', "\t", "\r\n"])


@st.composite
def written(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A document, and a text that says it, as odd as it may be."""
    document = draw(DOCUMENTS)

    def text(value: Any) -> str:
        blank = lambda: draw(BLANKS)  # noqa: E731
        if isinstance(value, dict | list):
            open_, close = "{}" if isinstance(value, dict) else "[]"
            parts = (
                [f"{json.dumps(k)}{blank()}:{blank()}{text(v)}" for k, v in value.items()]
                if isinstance(value, dict)
                else [text(one) for one in value]
            )
            comma = f"{blank()},{blank()}"
            end = "," if parts and draw(st.booleans()) else ""
            return f"{open_}{blank()}{comma.join(parts)}{blank()}{end}{blank()}{close}"
        return json.dumps(value, ensure_ascii=draw(st.booleans()))

    return f"{draw(BLANKS)}{text(document)}{draw(BLANKS)}", document


@given(written())
def test_a_text_is_read_as_it_is_meant(one: tuple[str, dict[str, Any]]):
    assert jsonc.read(one[0]).value == one[1]


@given(written(), NAMES, VALUES, st.booleans())
def test_what_is_put_is_there_and_all_else_as_it_was(
    one: tuple[str, dict[str, Any]],
    name: str,
    value: Any,
    deep: bool,
):
    """INVARIANT D100: a put changes one member; taking it out again gives what was there."""
    text, document = one
    path = (name, "inner") if deep else (name,)
    if deep and not isinstance(document.get(name, {}), dict):
        with pytest.raises(Misuse):
            jsonc.put(text, path, value)
        return
    after = jsonc.put(text, path, value)
    wanted = {**document, name: {**document.get(name, {}), "inner": value} if deep else value}
    assert jsonc.read(after).value == wanted
    assert after.count("/*") + after.count("//") >= text.count("/*") + text.count("//") or (
        name in document
    )
    out = jsonc.take_out(after, path)
    if deep:
        del wanted[name]["inner"]
    else:
        del wanted[name]
    assert jsonc.read(out).value == wanted


@given(written(), st.text(max_size=30))
def test_any_text_is_read_or_refused(one: tuple[str, dict[str, Any]], noise: str):
    for text in (noise, one[0][: len(one[0]) // 2] + noise + one[0][len(one[0]) // 2 :]):
        said = "line "
        try:
            jsonc.read(text)
        except Misuse as error:
            said = str(error)
        assert said.startswith("line ")


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.sampled_from(list(CLIENTS)))
def test_words_come_out_as_they_went_in(words: list[str], name: str):
    """INVARIANT D103: whatever words a server has, unwrapping gives just these."""
    made = entries.wrapped(CLIENTS[name], "any name!", words, ["A", "B", "A"], TERMS)
    assert entries.original(made) == words
    assert not entries.is_serving(made)
    assert made[: made.index("--")].count("A") == 1
    assert entries.original(words) is None or words[0].endswith("holdfast")
