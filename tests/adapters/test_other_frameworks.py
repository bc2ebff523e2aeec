"""Google ADK, Strands and Microsoft's Agent Framework through the gate.

They need an environment of their own (`make frameworks`), whose Python is `.venv-frameworks`
or named by HOLDFAST_FRAMEWORKS; without it these tests are skipped. What needs a framework in this
process runs as ``one_framework.py`` there.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = Path(os.environ.get("HOLDFAST_FRAMEWORKS") or ROOT / ".venv-frameworks/bin/python")
FRAMEWORKS = ("google_adk", "strands", "agent_framework")
ANSWER = (
    "content of a | content of b | charged 5 | wipe: refused by wiping: nothing is wiped here; "
    "leave it (a person may change that: the policy, or in a fork) | sent to bob"
)
pytestmark = [
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason=f"{PYTHON} is not there: Google ADK, Strands and Microsoft's Agent Framework are "
        "NOT TESTED; `make frameworks` installs them",
    ),
    pytest.mark.timeout(600),
]


def run(*command: str, at: Path) -> str:
    done = subprocess.run(
        [str(PYTHON), *command], capture_output=True, text=True, timeout=580, check=False, cwd=at,
        env={"PATH": os.environ["PATH"], "HOME": str(at), "OTEL_SDK_DISABLED": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_one_policy_governs_and_a_kill_at_every_write_changes_nothing(
    framework: str, side: str, tmp_path: Path
):
    """INVARIANT D57, and D56: what nobody said anything of is ``once``."""
    script = str(HERE / "other_frameworks.py")
    whole, *killed = json.loads(run(script, framework, str(tmp_path), side, at=tmp_path))
    assert (whole["codes"], whole["answer"]) == ([3, 0], ANSWER)
    assert len(killed) == whole["appends"]
    for one in killed:
        assert 9 in one["codes"], one
        assert (one["answer"], one["effects"]) == (ANSWER, ["charged 5", "sent to bob"]), one


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_d116_d118_d119_what_holds_in_each(framework: str, tmp_path: Path):
    """INVARIANT D116, D118, D119: see ``one_framework.py``, whose tests run in that environment."""
    told = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"),
        "--rootdir", str(ROOT), "--override-ini", "addopts=", "-W", "default",
        str(HERE / "one_framework.py"), "-k", framework, at=tmp_path,
    )  # fmt: skip
    assert " passed" in told
    assert "skipped" not in told


@pytest.mark.parametrize(
    ("example", "name", "key"),
    [
        ("adk_agent", "trip-1", "call.book-1"),
        ("strands_agent", "trip-2", "call.book-1"),
        ("microsoft_agent", "trip-3", "call.book-1"),
    ],
)
def test_the_examples_wait_for_a_person_and_go_on(
    tmp_path: Path, example: str, name: str, key: str
):
    script = str(ROOT / "examples" / f"{example}.py")
    first = run(script, at=tmp_path)
    assert f"holdfast approve {name}@{key}" in first
    assert "booked" not in first
    run("-m", "holdfast.cli", "approve", f"{name}@{key}", at=tmp_path)
    second = run(script, at=tmp_path)
    assert second.count("(booked Bergen)") == 1
    assert "Done: booked Bergen" in second
    assert "has ended" in run(script, at=tmp_path)
