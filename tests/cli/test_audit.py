"""The commands of the audit, as people and scripts use them."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from tests.cli.support import documents, invoke, newest


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> str:
    """A key and a second place are set; the public key."""
    public = invoke("audit", "key", str(tmp_path / "key")).stdout.strip()
    monkeypatch.setenv("HOLDFAST_KEY", str(tmp_path / "key"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOLDFAST_WITNESS", str(tmp_path / "elsewhere" / "roots"))
    return public


def test_sign_prove_verify_check(keyed: str, tmp_path: Path):
    invoke("run", "agents.py:add", "1")
    run = newest_of("add")
    (status,) = documents(invoke("audit", "status", "--json").stdout)
    assert status["roots"] >= 1
    assert status["left"] == 0
    proof = tmp_path / "proof.json"
    proof.write_text(invoke("audit", "prove", f"{run}@1").stdout)
    assert "holds: event" in invoke("audit", "verify", str(proof), "--key", keyed).stdout
    forged = json.loads(proof.read_text())
    forged["event"]["at"] += 1
    proof.write_text(json.dumps(forged))
    said = invoke("audit", "verify", str(proof), "--key", keyed, code=6).stderr
    assert "the event was changed" in said
    roots = str(tmp_path / "elsewhere" / "roots")
    said = invoke("fsck", "--key", keyed, "--checkpoints", roots).stdout
    assert "signed roots hold" in said
    said = invoke("fsck", "--key", "A" * 43 + "=", code=6).stdout
    assert "another key" in said
    invoke("fsck", "--checkpoints", roots, code=2)
    invoke("audit", "export", str(tmp_path / "copy"), "--no-payloads")
    said = invoke("fsck", str(tmp_path / "copy"), "--key", keyed).stdout
    assert "a copy of hashes" in said
    assert "nothing was left" in invoke("audit", "sign").stderr
    invoke("audit", "prove", "999999", code=2)


def newest_of(agent: str) -> str:
    found = documents(invoke("ps", "--json").stdout)
    return next(row["run"] for row in found if row["agent"] == agent)


def test_nothing_configured_is_said(place: Path):
    invoke("run", "agents.py:add", "1")
    said = invoke("audit", "status")
    assert "nothing is signed" in said.stdout
    assert "no key is set" in said.stderr
    assert "no second place is set" in said.stderr
    assert "audit key" in invoke("audit", "sign", code=2).stderr


def test_a_place_that_is_behind(
    keyed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "elsewhere").rmdir()
    (tmp_path / "elsewhere").write_text("in the way")
    with caplog.at_level(logging.ERROR, "holdfast.audit"):
        invoke("run", "agents.py:add", "1")
    assert "does not take signed roots" in caplog.text
    invoke("audit", "status", code=5)
    invoke("audit", "sign", code=5)
    (tmp_path / "elsewhere").unlink()
    assert "mount it, or make it" in invoke("audit", "sign", code=5).stderr
    (tmp_path / "elsewhere").mkdir()
    invoke("audit", "sign")
    invoke("audit", "status")


def test_a_store_that_was_put_back(keyed: str, place: Path, tmp_path: Path):
    invoke("run", "agents.py:add", "1")
    roots = str(tmp_path / "elsewhere" / "roots")
    (known,) = documents(invoke("audit", "status", "--json").stdout)
    said = invoke("fsck", "--key", keyed, "--key", "A" * 43 + "=", "--checkpoints", roots).stdout
    assert f"keeps {known['roots']} signed roots" in said
    (store,) = place.rglob("journal.db")
    shutil.copytree(store.parent, tmp_path / "old")
    invoke("run", "agents.py:add", "1")
    shutil.rmtree(store.parent)
    shutil.copytree(tmp_path / "old", store.parent)
    assert "is ahead of the store" in invoke("audit", "status", code=6).stdout
    (found,) = documents(invoke("audit", "status", "--json", code=6).stdout)
    assert found["ahead"] == [roots]
    assert "is ahead of the store" in invoke("audit", "sign", code=4).stderr
    Path(roots).write_bytes(b"")
    said = invoke("fsck", "--key", keyed, "--checkpoints", roots, code=6).stdout
    assert "keeps 0 signed roots, the journal has" in said


def test_the_log_of_sentences(place: Path):
    invoke("run", "agents.py:shop", code=10)
    run = newest()
    said = invoke("audit", "log", "--run", run).stdout
    assert "shop asked for pay" in said
    assert "escalated" in said
    (line,) = documents(invoke("audit", "log", "--decision", "escalate", "--json").stdout)
    assert (line["tool"], line["run"]) == ("pay", run)
    assert invoke("audit", "log", "--since", "2999-01-01").stdout == ""
    assert "90min" in invoke("audit", "log", "--since", "soon", code=2).stderr


def test_kill_and_agents(place: Path):
    invoke("run", "agents.py:add", "1")
    invoke("kill", "tool", "lo*", "--reason", "odd")
    said = invoke("run", "agents.py:add", "1", code=1).stderr
    assert "refused by killed" in said
    (one,) = documents(invoke("kill", "--list", "--json").stdout)
    assert (one["what"], one["name"], one["reason"]) == ("tool", "lo*", "odd")
    invoke("kill", "agent", "add")
    (found,) = documents(invoke("agents", "--json").stdout)
    assert (found["agent"], found["standing"]) == ("add", "stopped")
    invoke("kill", "--lift", "agent", "add")
    invoke("kill", "--lift", "tool", "lo*")
    invoke("kill", "--lift", "tool", "lo*", code=2)
    invoke("kill", code=2)
    invoke("kill", "tool", "[x]", code=2)
    invoke("run", "agents.py:add", "1")


def test_erase(place: Path):
    invoke("run", "agents.py:add", "1", "--name", "one")
    assert "--yes" in invoke("erase", "one", code=2).stderr
    assert "would erase" in invoke("erase", "one@1", "--dry-run").stdout
    assert "erased 2 payloads" in invoke("erase", "one@1", "--yes", "--why", "asked").stdout
    assert "erased" in invoke("show", "one").stdout
    assert "was erased" in invoke("replay", "one", code=2).stderr
    assert "erased 2 payloads of step 1 (asked)" in invoke("audit", "log").stdout
    invoke("fsck")
    invoke("erase", "one", "--yes")
    invoke("show", "one", "--json")
    invoke("log", "--json")
    invoke("fsck")


@pytest.mark.parametrize("form", ["--html", "--markdown", "--json"])
def test_report(place: Path, tmp_path: Path, form: str):
    invoke("run", "agents.py:add", "1")
    said = invoke("report", form, "--framework", "owasp-asi", "--owner", "ASI01=Ann Lee").stdout
    assert "ASI10" in said
    assert "Ann Lee" in said
    assert "complian" not in said.lower()
    invoke("report", form, "-o", str(tmp_path / "out"))
    assert "eu-ai-act" in (tmp_path / "out").read_text() or form == "--markdown"
    invoke("report", "-f", "nothing", code=2)
    invoke("report", "--owner", "x", code=2)
