"""A command on a branch: one run, governed, and nothing of the launch in what is kept."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.launch import clients
from holdfast.sandbox.plan import plan_of
from holdfast.sandbox.probe import probe
from holdfast.sandbox.spec import Folder, Limits
from holdfast.testing.standin import StandIn
from holdfast.tools.attempts import Reach
from holdfast.values.errors import Misuse, Refused
from tests.launch.support import KEY, PAYS, WORKER, Project, keyed, launch, opened, plain

BY_ORIGIN = """
version: 1
tools:
  - {tool: ledger.pay, effect: once, deciding: [to]}
rules:
  - {id: rest, when: {agent: "*"}, then: allow}
  - {id: named, when: {tool: ledger.pay}, if: 'worst != "person"', then: deny,
     reason: nobody said to whom}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


async def test_both_kinds_of_traffic_are_one_run(project: Project):
    async with StandIn(PAYS, key=KEY) as server, opened() as runtime:
        ended = await launch(runtime, project, sys.executable, WORKER, "pay bob", env=keyed(server))
        found = await ended.summary()
        names = [one.plan.name for one in (await ended.history()).steps.values() if one.plan]
        assert [name for name in names if "." in name] == [
            "launcher.command", "openai.gpt-4o", "ledger.pay", "openai.gpt-4o", "openai.gpt-4o",
            "launcher.keep",
        ]  # fmt: skip
        assert project.paid == ["pay bob"]
        assert found.calls == 4
        assert found.tools == {"ledger.pay": 1}
        assert found.models.calls == 3
        assert found.asked == {"pay": 1, "write": 1}
        assert found.models.input > 100
        assert found.models.money > 0
        assert ended.launched.done.code == 0
        row = await runtime.store.run(ended.launched.run)
        assert (row.status, row.ref) == ("done", "door:launcher")
        assert row.agent == Path(sys.executable).name
        # the branch has what was changed, the directory and clients' files are as they were (D86)
        assert {one.path: one.added for one in found.files} | {"environment.json": 0} == {
            "made.txt": 2, "said.json": 1, "environment.json": 0,
        }  # fmt: skip
        assert project.look() == project.before
        assert not any(project.copies.iterdir())


@pytest.mark.slow
async def test_the_gate_sees_the_request_and_the_call_together(project: Project):
    for prompt, said in (("pay bob", "pay bob"), ("pay whom you like", "nobody said to whom")):
        async with StandIn(PAYS, key=KEY) as server, opened(BY_ORIGIN) as runtime:
            ended = await launch(
                runtime, project, sys.executable, WORKER, prompt, enforce=True, env=keyed(server)
            )
            (_, _, result, *_) = await ended.conversation()
            assert said in result["content"]
    assert project.paid == ["pay bob"]


@pytest.mark.slow
async def test_observing_lets_happen_what_enforcing_stops(project: Project):
    async with StandIn(PAYS, key=KEY) as server, opened() as runtime:
        ended = await launch(runtime, project, sys.executable, WORKER, "x", env=keyed(server))
        (one,) = (await ended.summary()).decisions
        assert (one.decision, one.rule) == ("escalate", "once")
        assert (one.enforced, one.said) == (False, "done")
        assert one.what == "ledger.pay(to='bob')"
    assert project.paid == ["pay bob"]
    async with StandIn(PAYS, key=KEY) as server, opened() as runtime:
        ended = await launch(
            runtime, project, sys.executable, WORKER, "x", env=keyed(server), enforce=True
        )
        (one,) = (await ended.summary()).decisions
        assert (one.decision, one.enforced, one.said) == ("escalate", True, "waits")
        assert ended.launched.open
        assert project.paid == ["pay bob"]
        # approved, the same call of the same run is performed: the agent is sent again
        await runtime.answer(ended.launched.run, "approve")
        async with StandIn(PAYS, key=KEY) as server:
            again = await launch(
                runtime, project, sys.executable, WORKER, "x", env=keyed(server), enforce=True,
                name=ended.launched.run,
            )  # fmt: skip
        assert project.paid == ["pay bob", "pay bob"]
        assert not again.launched.open


async def test_keys_stay_here(project: Project):
    """D81"""
    env = {"GITHUB_COPY": KEY, "CODEX_API_KEY": KEY, "TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01"}
    async with StandIn(["Done."], key=KEY) as server, opened() as runtime:
        ended = await launch(
            runtime, project, sys.executable, WORKER, "x", f"--token={KEY}",
            env={**keyed(server), **env},
        )  # fmt: skip
        told = await ended.environment()
        assert told["OPENAI_API_KEY"] == told["CODEX_API_KEY"] == told["HOLDFAST_TOKEN"]
        assert "GITHUB_COPY" not in told
        assert not [name for name, value in told.items() if KEY in value]
        assert KEY not in await ended.journal()
        assert told["TRACEPARENT"] == env["TRACEPARENT"]
        assert server.requests[0].headers["traceparent"] == env["TRACEPARENT"]
        assert told["HOLDFAST_RUN"] == ended.launched.run


async def test_a_projects_file_is_not_filled_in_with_keys(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    """D90"""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("PLAIN", "plain")
    far = {"url": "http://127.0.0.1:9/mcp", "headers": {"X": "${OPENAI_API_KEY}"}}
    near = {**far, "headers": {"X": "${PLAIN}"}}
    (project.path / ".mcp.json").write_text(
        json.dumps({"mcpServers": {"far": far, "near": near}}), "utf-8"
    )
    async with opened() as runtime:
        ended = await launch(runtime, project, "cp", ".mcp.json", "seen")
        assert list(json.loads(await ended.text("seen"))["mcpServers"]) == ["near"]
    assert any("no OPENAI_API_KEY" in one for one in ended.said)


async def test_what_was_asked_for_is_masked(project: Project):
    key = "ghp_" + "a1" * 15
    async with StandIn(["Done."], key=KEY) as server, opened() as runtime:
        (project.path / "claude").symlink_to("/bin/true")
        ended = await launch(
            runtime, project, "./claude", "-p", f"fix it with {key} or {KEY[3:]}",
            env=keyed(server) | {"OPENAI_API_KEY": KEY[3:]},
        )  # fmt: skip
        said = await ended.journal()
        head = await runtime.store.run(ended.launched.run)
    assert "fix it with" in said
    assert key not in said
    assert KEY[3:] not in said
    assert key not in str(plain(head))


async def test_a_log_in_of_the_agent_is_passed_on(project: Project):
    """Without a key here the command's own goes to the provider."""
    async with StandIn(["Done."], key="own") as server, opened() as runtime:
        ended = await launch(
            runtime, project, sys.executable, WORKER, "x",
            env={"OPENAI_BASE_URL": server.url + "/v1", "OPENAI_API_KEY": ""},
        )  # fmt: skip
        told = await ended.environment()
        assert told["HOLDFAST_TOKEN"] in told["OPENAI_BASE_URL"]
        assert (await ended.summary()).models.calls == 1


async def test_a_policy_may_forbid_the_command(project: Project):
    policy = """
version: 1
rules:
  - {id: rest, when: {agent: "*"}, then: allow}
  - {id: no-rm, when: {tool: launcher.command}, if: 'args.command[0] == "rm"', then: deny,
     reason: not that}
"""
    async with opened(policy) as runtime:
        with pytest.raises(Refused, match="not that"):
            await launch(runtime, project, "rm", "-rf", ".", enforce=True)
        assert not any(project.copies.iterdir())


async def test_what_the_command_changes_in_clients_files_is_kept(project: Project):
    """D86"""
    script = (
        "import json; p='.mcp.json'; d=json.load(open(p)); "
        "d['mcpServers']['more']={'command':'x'}; json.dump(d, open(p,'w'))"
    )
    async with opened() as runtime:
        ended = await launch(runtime, project, sys.executable, "-c", script)
        text = await ended.text(".mcp.json")
    assert "HOLDFAST" not in text
    assert "ledger.py" in text
    assert '"more"' in text


async def test_a_home_with_servers_is_a_private_copy(project: Project):
    """D83"""
    home = project.copies.parent / "home"
    (home / ".codex").mkdir(parents=True)
    (home / "other").mkdir()
    config = home / ".codex" / "config.toml"
    config.write_text('model = "m"\n[mcp_servers.pay]  # mine\ncommand = "true"\n', "utf-8")
    (home / ".codex" / "auth.json").write_text("{}", "utf-8")
    before = config.read_bytes()
    (home / "plain").write_text("old", "utf-8")
    script = (
        "cat ~/.codex/config.toml > seen; cat ~/.codex/auth.json > auth; echo x > ~/other/new; "
        "echo fresh > ~/.codex/t; mv ~/.codex/t ~/.codex/auth.json; echo made > ~/.made; "
        "rm ~/plain; mkdir ~/plain; echo more > ~/plain/more"
    )
    async with opened() as runtime:
        ended = await launch(runtime, project, "sh", "-c", script)
        seen = await ended.text("seen")
        assert await ended.text("auth") == "{}"
    assert "HOLDFAST_DOOR" in seen
    assert 'model = "m"' in seen
    assert config.read_bytes() == before
    assert (home / "other" / "new").read_text("utf-8") == "x\n"
    # D91: and so are files that were put in place of links, or that are new
    assert (home / ".codex" / "auth.json").read_text("utf-8") == "fresh\n"
    assert (home / ".made").read_text("utf-8") == "made\n"
    assert (home / "plain").read_text("utf-8") == "old"
    (left,) = project.copies.glob("left-*/home/plain/more")
    assert any(f"it is in {left.parents[1]}" == one for one in ended.said)


async def test_servers_that_cannot_be_led_are_left_out(project: Project):
    """D82"""
    (project.path / ".mcp.json").write_text('{"mcpServers": {"odd": {"command": 3}}}', "utf-8")
    async with opened() as runtime:
        ended = await launch(runtime, project, "cp", ".mcp.json", "seen")
        assert '"odd"' not in await ended.text("seen")
        assert '"odd"' in await ended.text(".mcp.json")
    assert any("left out" in one for one in ended.said)


async def test_files_that_cannot_be_read_are_not_shown(project: Project):
    """D82"""
    home = project.copies.parent / "home"
    home.mkdir()
    broken = '{"mcpServers": {"a": {"command": "x", "env": {"K": "hidden"}}}'
    (home / ".claude.json").write_text(broken, "utf-8")
    (project.path / ".mcp.json").write_text(broken, "utf-8")
    script = "cat .mcp.json ~/.claude.json > seen; echo '{\"new\": 1}' > .mcp.json"
    async with opened() as runtime:
        ended = await launch(runtime, project, "sh", "-c", script)
        assert await ended.text("seen") == "{}\n{}\n"
        assert await ended.text(".mcp.json") == broken
    assert (home / ".claude.json").read_text("utf-8") == broken
    assert len([one for one in ended.said if "cannot be read" in one]) == 2
    assert any("not kept: .mcp.json" in one for one in ended.said)


@pytest.mark.slow
async def test_behind_walls_the_doors_are_there_and_nothing_else(project: Project):
    """D85"""
    lacking = probe().lacking("namespaces")
    if lacking is not None:
        pytest.skip(f"no walls here: {lacking.name}: {lacking.found}")
    async with StandIn(["Done."], key=KEY) as server, opened() as runtime:
        ended = await launch(
            runtime, project, sys.executable, WORKER, "x", env={**keyed(server), "OTHER": "1"},
            walls=True, reach=_reading(os.path.dirname(WORKER)),  # noqa: PTH120
        )  # fmt: skip
        assert ended.launched.done.code == 0, ended.launched
        assert ended.launched.done.walls == "namespaces"
        assert (await ended.summary()).models.calls == 1
        told = await ended.environment()
        assert "OTHER" not in told
        assert KEY not in str(told)
        assert any("ledger" in one and "left out" in one for one in ended.said)
        # a server that is meant to run outside does; no other can be named through the door
        async with StandIn(PAYS, key=KEY) as other:
            ended = await launch(
                runtime, project, sys.executable, WORKER, "x", env=keyed(other), walls=True,
                outside=("ledger",), reach=_reading(os.path.dirname(WORKER)),  # noqa: PTH120
            )  # fmt: skip
        assert project.paid == ["pay bob"]
        evil = project.path / "evil"
        words = [sys.executable, "-P", "-m", "holdfast.cli", "mcp", "--", "touch", str(evil)]
        ended = await launch(runtime, project, *words, walls=True)
        assert ended.launched.done.code != 0
        assert not evil.exists()


_ESCAPES = """
import json, os, subprocess, sys
entry = json.load(open(".mcp.json"))["mcpServers"]["thing"]
open("thing.sh", "w").write("touch %(evil)s")
left = {"mcpServers": {"thing": {"command": "touch", "args": ["%(evil)s"]}}}
json.dump(left, open(".mcp.json", "w"))
asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-11-25", "capabilities": {},
    "clientInfo": {"name": "c", "version": "1"}}}
pipe = subprocess.Popen(
    [entry["command"], *entry["args"]], env={**os.environ, **entry["env"]}, text=True,
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
pipe.stdin.write(json.dumps(asked) + chr(10))
pipe.stdin.flush()
pipe.stdout.readline()  # an answer: what the server is was tried
subprocess.run([sys.executable, "-I", "-S", "%(hook)s"], input='{"tool_name": "Bash"}', text=True)
"""


@pytest.mark.slow
async def test_what_runs_outside_of_walls_is_never_what_the_command_wrote(project: Project):
    """D85"""
    lacking = probe().lacking("namespaces")
    if lacking is not None:
        pytest.skip(f"no walls here: {lacking.name}: {lacking.found}")
    evil, good = project.ledger.with_name("evil"), project.ledger.with_name("good")
    (project.path / "thing.sh").write_text(f"touch {good}", "utf-8")
    (project.path / ".mcp.json").write_text(
        '{"mcpServers": {"thing": {"command": "sh", "args": ["thing.sh"]},'
        ' "far": {"url": "http://127.0.0.1:9/mcp"}}}', "utf-8",
    )  # fmt: skip
    words = [sys.executable, "-c", _ESCAPES % {"evil": evil, "hook": clients.HOOK}]
    more: dict[str, Any] = {"walls": True, "outside": ("thing",), "enforce": True}
    async with opened() as runtime:
        ended = await launch(runtime, project, *words, **more)
        assert good.exists(), (ended.said, ended.launched)
        assert any("far" in one and "left out" in one for one in ended.said)
        good.unlink()
        # the run waits for a person, and goes on with the files as that command left them
        assert str(evil) in await ended.text(".mcp.json")
        ended = await launch(runtime, project, *words, name=ended.launched.run, **more)
        assert good.exists()
    assert not evil.exists()


def _reading(*paths: str) -> object:
    return Reach(paths)


async def test_an_agent_that_asks_about_its_own_tools_is_told(project: Project):
    policy = """
version: 1
rules:
  - {id: rest, when: {agent: "*"}, then: allow}
  - {id: no-rm, when: {tool: sh.Bash}, if: 'args.command.contains("rm")', then: deny, reason: never}
"""
    (project.path / "ask.sh").write_text(
        f"ask() {{ {sys.executable} -I -S {clients.HOOK}; }}\n"
        """echo '{"tool_name": "Bash", "tool_input": {"command": "rm x"}}' | ask > denied\n"""
        """echo '{"tool_name": "Bash", "tool_input": {"command": "ls"}}' | ask > left\n"""
        """echo '{"tool_name": "mcp__a__b", "tool_input": {}}' | ask > mcp\n"""
        """echo 'odd' | ask > odd\n"""
        """HOLDFAST_TOKEN=wrong; echo '{}' | ask; echo $? > wrong\n""",
        "utf-8",
    )
    async with opened(policy) as runtime:
        ended = await launch(runtime, project, "sh", "ask.sh", enforce=True)
        found = await ended.summary()
        said = json.loads(await ended.text("denied"))["hookSpecificOutput"]
        assert said["permissionDecision"] == "deny"
        assert "never" in said["permissionDecisionReason"]
        assert json.loads(await ended.text("odd"))["hookSpecificOutput"]["permissionDecision"]
        assert [await ended.text(name) for name in ("left", "mcp")] == ["{}", "{}"]
        assert await ended.text("wrong") == "2\n"  # D88
        assert found.tools == {"sh.Bash": 2, "sh.mcp__a__b": 1}
        assert [one.what for one in found.decisions] == ["sh.Bash(command='rm x')"]


async def test_landlock_has_no_doors():
    with pytest.raises(Misuse, match="door"):
        plan_of(Folder("/var"), tier="landlock", at="/w", readable=(), hidden=(), network=False,
                limits=Limits(), doors=(80,))  # fmt: skip
