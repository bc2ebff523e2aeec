"""Questions that outlive a launch, and tools that reach an agent by another way than the doors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from holdfast.engine.answers import answer
from holdfast.launch import clients
from holdfast.values.errors import Misuse
from tests.launch.support import Project, launch, opened

ASKS = f"ask() {{ {sys.executable} -I -S {clients.HOOK}; }}\n"
SENDS = """
version: 1
rules:
  - {id: rest, when: {agent: "*"}, then: allow}
  - {id: no-send, when: {tool: "*send*"}, then: deny, reason: nothing is sent}
"""
DEPLOYS = """
version: 1
rules:
  - {id: rest, when: {agent: "*"}, then: allow}
  - {id: asks, when: {tool: sh.Bash}, then: escalate}
"""
DEPLOY = """echo '{"tool_name": "Bash", "tool_input": {"command": "sh deploy.sh"}}' | ask"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


async def test_what_was_rewritten_is_not_what_was_approved(project: Project):
    """E122: who approves after a launch approves what it left, and one approval is enough."""
    (project.path / "ask.sh").write_text(
        f"{ASKS}{DEPLOY} > asked\necho evil > deploy.sh\n", "utf-8"
    )
    (project.path / "deploy.sh").write_text("echo good\n", "utf-8")
    async with opened(DEPLOYS) as runtime:
        ended = await launch(runtime, project, "sh", "ask.sh", enforce=True)
        run = ended.launched.run
        assert ended.launched.open
        first, second = [
            one.body for one in await runtime.store.read(run) if one.kind == "approval.asked"
        ]
        assert b"The world has changed since" in second
        assert json.loads(first)["digest"] != json.loads(second)["digest"]
        with pytest.raises(Misuse, match="it asks about action"):
            await answer(runtime.store, run, "", "approve", by="ann", now_ms=1,
                         digest=json.loads(first)["digest"])  # fmt: skip
        await runtime.answer(run, "approve")
        again = await launch(runtime, project, "sh", "ask.sh", enforce=True, name=run)
        assert await again.text("asked") == "{}"
        assert not again.launched.open


async def test_tools_of_servers_that_nobody_led_are_judged_by_the_hook(project: Project):
    """D120"""
    names = ("mcp__plugin_evil__send", "mcp__ledger__send", "mcp__ledger__a__send",
             "mcp__ledger___send", "mcp__other__send", "mcp__send", "mcp__other__look")  # fmt: skip
    lines = [
        f"""echo '{{"tool_name": "{name}", "tool_input": {{}}}}' | ask > {name}\n"""
        for name in names
    ]
    (project.path / "ask.sh").write_text(ASKS + "".join(lines), "utf-8")
    async with opened(SENDS) as runtime:
        ended = await launch(runtime, project, "sh", "ask.sh", enforce=True)
        left = [name for name in names if await ended.text(name) == "{}"]
        assert left == ["mcp__ledger__send", "mcp__other__look"]
        refused = json.loads(await ended.text(names[0]))["hookSpecificOutput"]
        assert refused["permissionDecision"] == "deny"
        assert "nothing is sent" in refused["permissionDecisionReason"]
        assert "sh.mcp__ledger__send" not in (await ended.summary()).tools


async def test_a_run_that_observed_is_not_gone_on_with_enforcing(project: Project):
    """E123"""
    async with opened(SENDS) as runtime:
        guest = await runtime.guest("sh", name="w", door="launcher", observes=True)
        await guest.leave()
        with pytest.raises(Misuse, match="observing"):
            await launch(runtime, project, "touch", "made", enforce=True, name="w")
        assert not project.copies.exists()
        ended = await launch(runtime, project, "touch", "made", name="w")
        assert not ended.launched.enforced
