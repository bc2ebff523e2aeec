"""Real coding agents, launched in front of a stand-in model, where they are installed.

``HOLDFAST_TEST_AGENTS=DIR`` names the directory of their programs (``node_modules/.bin`` after
``npm install @anthropic-ai/claude-code @openai/codex opencode-ai @google/gemini-cli``).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.standin import StandIn
from tests.cli.support import command, environment

PLACE = os.environ.get("HOLDFAST_TEST_AGENTS", "")
ADD = "echo two >> notes.txt"
TEXT = "Add a line two to notes.txt"
AGENTS: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "claude": (["claude", "-p", TEXT, "--allowedTools", "Bash"], "Bash", {"command": ADD}),
    "codex": (
        ["codex", "exec", "--skip-git-repo-check", "-s", "danger-full-access", TEXT],
        "exec_command", {"cmd": ADD},
    ),
    "opencode": (["opencode", "run", "-m", "anthropic/claude-sonnet-4-5", TEXT], "bash",
                 {"command": ADD, "description": "add"}),
    "gemini": (["gemini", "--yolo", "--skip-trust", "-m", "gemini-2.5-pro", "-p", TEXT],
               "run_shell_command", {"command": ADD, "description": "add"}),
}  # fmt: skip
QUIET = {
    "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "GEMINI_TELEMETRY_ENABLED": "false",
    "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_works_on_a_branch_and_its_models_are_steps(name: str, tmp_path: Path):
    words, tool, args = AGENTS[name]
    if not PLACE or not (Path(PLACE) / name).exists():
        pytest.skip(f"{name} is not installed: HOLDFAST_TEST_AGENTS={PLACE or 'unset'}")
    home, project = tmp_path / "home", tmp_path / "project"
    (home / ".gemini").mkdir(parents=True)
    project.mkdir()
    chosen = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    (home / ".gemini" / "settings.json").write_text(json.dumps(chosen), "utf-8")
    (project / "notes.txt").write_text("one\n", "utf-8")
    when = "" if name == "codex" else f'"name":"{tool}"'  # others ask for titles by the way
    script: list[Any] = [
        {"calls": [{"name": tool, "arguments": args}], "when": when},
        {"text": "Done.", "when": when},
        {"text": "ok", "again": True},
    ]
    with StandIn(script) as server:
        env = {
            **environment(), **QUIET, "HOME": str(home), "XDG_STATE_HOME": str(tmp_path / "state"),
            "PATH": f"{PLACE}:{os.environ['PATH']}",
            "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "sk-ant-real-0123456789abcdef",
            "OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "sk-real-0123456789abcdefgh",
            "GOOGLE_GEMINI_BASE_URL": server.url, "GEMINI_API_KEY": "AIzaReal012345678901234567890",
        }  # fmt: skip
        done = subprocess.run(
            command("run", "--json", "--", *words), cwd=project, env=env, capture_output=True,
            text=True, timeout=110, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = json.loads(done.stdout)
    assert said["built_in"] == {tool: 1}
    assert said["models"]["calls"] >= 2
    assert said["models"]["money"] > 0
    assert "notes.txt" in {one["path"] for one in said["files"]}
    assert (project / "notes.txt").read_text("utf-8") == "one\n"
